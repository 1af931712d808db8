"""The authors' files of logits: whatever else such a file may be, it is refused in a sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from models.spaces.fasterseg.published_parameters import read_parameter_file
from models.spec.errors import InvalidSpecError

LOGITS = {"alpha_1_0": torch.tensor([[0.5, 1.0, 1.5]]), "mIoU": np.float64(0.5)}


def saved(folder: Path, content: object, *, archive: bool = True) -> Path:
    path = folder / "arch_1.pt"
    torch.save(content, path, _use_new_zipfile_serialization=archive)
    return path


@pytest.mark.parametrize("archive", [True, False])
def test_scores_beside_the_logits_may_be_numpys(tmp_path: Path, archive: bool) -> None:
    assert read_parameter_file(saved(tmp_path, LOGITS, archive=archive))["alpha"] == {"8": [[0.5, 1.0, 1.5]]}


@pytest.mark.parametrize("archive", [True, False])
def test_a_file_that_is_cut_off_anywhere(tmp_path: Path, archive: bool) -> None:
    path = saved(tmp_path, LOGITS, archive=archive)
    whole = path.read_bytes()
    for end in range(0, len(whole), 7):
        path.write_bytes(whole[:end])
        with pytest.raises(InvalidSpecError, match=r"damaged|logits"):
            read_parameter_file(path)


@pytest.mark.parametrize(
    "tensor",
    [torch.eye(2).to_sparse(), torch.zeros(2, 2, device="meta"), torch.zeros(1).expand(30_000, 30_000)],
    ids=["sparse", "without_numbers", "nine_hundred_million"],
)
def test_tensors_that_are_no_rows_of_numbers(tmp_path: Path, tensor: torch.Tensor) -> None:
    with pytest.raises(InvalidSpecError):
        read_parameter_file(saved(tmp_path, {"alpha_1_0": tensor}))
