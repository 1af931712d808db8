"""How firmly parameters decide: chance is called chance, ties are found, and a decided search is left alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from models.spaces.registry import create_space
from models.spec.architectures import SpaceSpec
from models.spec.errors import InvalidSpecError
from nas_client.cli.latency_options import read_parameters
from nas_client.errors import ParameterError
from nas_client.latency.parameters import ArchitectureParameters
from nas_client.search.derivation import probabilities
from nas_client.search.firmness import Firmness, firmness
from tests.support.reference import reference_file
from tests.support.toy_space import ToySpace

SPACE = create_space(SpaceSpec(name="fasterseg", input_size=(32, 64)))


def of(parameters: ArchitectureParameters) -> dict[str, Firmness]:
    return {found.granularity: found for found in firmness(parameters, SPACE)}


def noisy(deviation: float) -> ArchitectureParameters:
    """Logits that noise has led away from where a search starts."""
    found = ArchitectureParameters.starting(SPACE.parameter_shapes(), SPACE.initial_logits(), dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    for tensor in found.tensors():
        tensor.add_(deviation * torch.randn(tensor.shape, dtype=torch.float64, generator=generator))
    return found


def test_the_published_student_was_hardly_decided() -> None:
    found = of(read_parameters(reference_file("fasterseg/arch_1.pt"), SPACE))
    alpha, gamma = found["alpha"], found["gamma"]
    assert (alpha.close_rows, len(alpha.gaps)) == (23, 45)
    assert (gamma.close_rows, len(gamma.gaps)) == (18, 44)
    assert 1.604 < alpha.entropy < 1.608 < alpha.entropy_maximum < 1.61
    assert alpha.nearly_random
    assert gamma.nearly_random
    assert not alpha.ties


def test_a_search_that_has_hardly_moved_is_close_to_chance_and_one_that_has_is_not() -> None:
    """β starts far from equal choices, and counts as undecided there too."""
    start, moved = of(noisy(1e-3)), of(noisy(1.0))
    for granularity in ("alpha", "beta", "gamma"):
        assert start[granularity].nearly_random
        assert not moved[granularity].nearly_random
    assert start["beta"].entropy < 0.9 * start["beta"].entropy_maximum
    uniform = of(ArchitectureParameters.zeros(SPACE.parameter_shapes(), dtype=torch.float64))
    assert uniform["beta"].nearly_random


def test_ties_and_gaps_are_those_of_the_rows() -> None:
    given = noisy(1.0)
    given.group("alpha", "16")[2].copy_(torch.tensor([0.5, 2.0, 1.0, 2.0, 0.0]))
    given.group("gamma", "8")[4].copy_(torch.tensor([0.0, 0.0, 3.0, 0.25, 2.75]))
    found = of(given)
    (tie,) = found["alpha"].ties
    assert (tie.group, tie.row, tie.choice, tie.second, tie.gap) == ("16", 2, 1, 3, 0.0)
    row = next(row for row in found["gamma"].gaps if (row.group, row.row) == ("8", 4))
    assert (row.choice, row.second, row.gap) == (2, 4, 0.25)
    assert not found["gamma"].ties


def test_what_there_is_nothing_to_choose_of_is_left_out() -> None:
    space = ToySpace.defaults()
    parameters = ArchitectureParameters.zeros(space.parameter_shapes(), dtype=torch.float64)
    assert [found.granularity for found in firmness(parameters, space)] == ["alpha"]


def test_where_branches_downsample_is_a_joint_choice() -> None:
    start = probabilities(ArchitectureParameters.starting(SPACE.parameter_shapes(), SPACE.initial_logits()))
    sixteenth, thirtysecond = SPACE.joint_choices(start)
    assert (sixteenth.count, thirtysecond.count) == (15, 105)
    assert sixteenth.probability == pytest.approx(1 / 15)
    assert thirtysecond.probability == pytest.approx(1 / 105)
    moved = probabilities(noisy(0.1))
    assert not any(choice.tied for choice in SPACE.joint_choices(moved))
    for choice in SPACE.joint_choices(moved):
        assert choice.probability > choice.second_probability > 0


def test_a_file_of_another_format_is_read_by_its_own_space_alone(tmp_path: Path) -> None:
    path = tmp_path / "arch.pt"
    for content in (b"", b'{"alpha": {}}', b"PK\x03\x04"):
        path.write_bytes(content)
        with pytest.raises(InvalidSpecError, match=r"arch\.pt is damaged, or holds more than tensors and numbers"):
            read_parameters(path, SPACE)
    with pytest.raises(ParameterError, match=r"arch\.pt: not a JSON document"):
        read_parameters(path, ToySpace.defaults())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([torch.zeros(2, 2)], "holds a list, not logits by name"),
        ({"alpha_1_0": torch.zeros(2, 2), "alpha_0_0": torch.zeros(2, 2)}, "logits of 2 networks"),
        ({"accuracy": 0.5}, "logits of 0 networks"),
        ({"alpha_1_3": torch.zeros(2, 2)}, "'alpha_1_3', a tensor of shape 2×2, is none of α, β, γ"),
        ({"alpha_1_0": torch.zeros(3)}, "'alpha_1_0', a tensor of shape 3, is none of α, β, γ"),
        ({"alpha_1_0": torch.zeros(2, 2), "more": Path("/")}, "is damaged, or holds more than tensors and numbers"),
    ],
)
def test_what_is_no_checkpoint_of_the_authors_is_refused(tmp_path: Path, content: object, message: str) -> None:
    path = tmp_path / "arch.pt"
    torch.save(content, path)
    with pytest.raises(InvalidSpecError, match=message):
        read_parameters(path, SPACE)
