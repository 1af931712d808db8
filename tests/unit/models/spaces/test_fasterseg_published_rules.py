"""The authors' rules of decoding, on their own checkpoints and on parameters made by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
import pytest

from models.spaces.base import Probabilities
from models.spaces.fasterseg.decoding import DecodedBranch
from models.spaces.fasterseg.genotype import BranchSpec
from models.spaces.fasterseg.parameters import FasterSegParameters
from models.spaces.fasterseg.published_parameters import read_parameter_file
from models.spaces.fasterseg.published_rules import decode_as_published
from models.spec.errors import InvalidSpecError
from tests.support.reference import reference_file

LAYERS = 10
SHAPES = {"alpha": ({"8": 10, "16": 9, "32": 8}, 5), "beta": ({"16": 8, "32": 7}, 2), "gamma": ({"8": 9, "16": 9, "32": 8}, 5)}


def softmax(rows: object) -> np.ndarray:
    odds = np.exp(np.asarray(rows, np.float64))
    return np.asarray(odds / odds.sum(axis=1, keepdims=True))


def published(name: str) -> Probabilities:
    logits = json.loads(reference_file(f"fasterseg/{name}.logits.json").read_bytes())
    return {granularity: {group: softmax(rows) for group, rows in groups.items()} for granularity, groups in logits.items()}


NOWHERE: Mapping[tuple[int, int], float] = MappingProxyType({})


def made(downs: Mapping[tuple[int, int], float] = NOWHERE, skips: Mapping[tuple[int, int], float] = NOWHERE) -> Probabilities:
    """Convolutions of the least width; β0 0.1 but at these (layer, scale); skips of that probability at these."""
    logits = {name: {group: np.zeros((rows, n)) for group, rows in groups.items()} for name, (groups, n) in SHAPES.items()}
    found = {name: {group: softmax(rows) for group, rows in groups.items()} for name, groups in logits.items()}
    for j, group in enumerate(("8", "16", "32")):
        found["alpha"][group][:] = [0.1, 0.6, 0.1, 0.1, 0.1]
        for row in range(LAYERS - j):
            if (probability := skips.get((row + j, int(group)))) is not None:
                found["alpha"][group][row] = [probability, *[(1 - probability) / 10] * 3, 0.7 * (1 - probability)]
            if j and row:
                beta = downs.get((row + j, int(group)), 0.1)
                found["beta"][group][row - 1] = [beta, 1 - beta]
    return found


def decoded(given: Probabilities, *, widest: bool = False) -> dict[int, DecodedBranch]:
    return decode_as_published(FasterSegParameters(layers=LAYERS), given, keep_skips=False, widest=widest)


def entries(branch: BranchSpec, *scales: int) -> tuple[int, ...]:
    return tuple(branch.scales.index(scale) for scale in scales)


def test_the_published_student_is_decoded_from_its_checkpoint() -> None:
    student = json.loads(reference_file("fasterseg/student.json").read_bytes())
    found = decode_as_published(FasterSegParameters(), published("arch_1"), keep_skips=False, widest=False)
    for expected in student["branches"]:
        branch = BranchSpec(**{name: tuple(values) for name, values in expected.items()})
        assert found[expected["scales"][-1]].branch == branch


def test_the_published_teacher_keeps_all_its_cells() -> None:
    found = decode_as_published(FasterSegParameters(), published("arch_0"), keep_skips=False, widest=True)
    for end, branch in found.items():
        assert branch.layers == tuple(range(16))
        assert branch.branch.end == end
        assert "skip" not in branch.branch.operators
        assert set(branch.branch.widths) == {12}


@pytest.mark.parametrize("name", ["arch_0", "arch_1"])
def test_the_authors_files_hold_the_same_numbers(name: str) -> None:
    expected = json.loads(reference_file(f"fasterseg/{name}.logits.json").read_bytes())
    assert read_parameter_file(reference_file(f"fasterseg/{name}.pt")) == expected


def test_the_branch_at_16_downsamples_one_cell_before_the_largest_beta() -> None:
    found = decoded(made(downs={(5, 16): 0.8, (2, 16): 0.99, (9, 16): 0.99}))
    assert entries(found[16].branch, 16) == (4,), "the first and the last row are left out"


def test_the_branch_at_32_has_two_cells_between_its_downsamplings() -> None:
    found = decoded(made(downs={(5, 16): 0.9, (6, 32): 0.9, (8, 32): 0.5, (2, 16): 0.99, (9, 32): 0.99}))
    assert entries(found[32].branch, 16, 32) == (5, 8)


def test_a_skip_that_must_stay_counts_among_those_that_may_go() -> None:
    """Of ten cells five may go: the five most probable skips are 5 to 9, one of which has to stay."""
    skips = {(layer, 8): 0.5 for layer in range(4)} | {(layer, 16): 0.6 + layer / 100 for layer in range(5, 10)}
    found = decoded(made(downs={(6, 16): 0.8}, skips=skips))
    assert entries(found[16].branch, 16) == (5,)
    assert found[16].layers == (0, 1, 2, 3, 4, 5)


def test_a_teacher_keeps_every_cell() -> None:
    found = decoded(made(skips={(layer, 8): 0.9 for layer in range(10)}), widest=True)
    assert found[8].branch.operators == ("zoomed_conv3x3_x2",) * 10


def test_a_short_space_has_no_place_for_these_rules() -> None:
    with pytest.raises(InvalidSpecError, match=r"rules: published; they need 8 layers or more, .* has 7"):
        decode_as_published(FasterSegParameters(layers=7), {}, keep_skips=False, widest=False)
