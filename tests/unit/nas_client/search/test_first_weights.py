"""Networks that start from the weights they had in a search's supernet."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from models.networks.module import build_network
from models.spaces.decoding import DecodeOptions
from models.spaces.registry import create_space
from models.spec.architectures import SpaceSpec
from models.spec.errors import InvalidSpecError
from nas_client.errors import CheckpointError, RunFolderError
from nas_client.latency.parameters import GRANULARITIES, ArchitectureParameters
from nas_client.runs.checkpoints import Checkpoints
from nas_client.runs.manifest import begin_run
from nas_client.search.cosearch import LAST, search
from nas_client.search.derivation import probabilities
from nas_client.search.first_weights import supernet_weights
from nas_client.search.outcome import SearchResult
from nas_client.selection.perturbation import DecidedRow, Perturbation, decided_parameters
from tests.support.fasterseg_networks import branches_of, with_branches
from tests.support.searches import SPACE, small, small_table

SHAPES = SPACE.parameter_shapes()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SearchResult]:
    folder = tmp_path_factory.mktemp("searches") / "run"
    return folder, search(small(search__epochs=1, pretrain__epochs=0), small_table(), folder)


@pytest.mark.parametrize("role", ["student", "teacher"])
def test_a_network_takes_the_weights_of_its_role(finished: tuple[Path, SearchResult], role: str) -> None:
    folder, result = finished
    architecture = result.architecture(role)
    network = build_network(SPACE.plan(architecture))
    supernet_weights(folder, SPACE, role, architecture)(network)
    supernet = SPACE.supernet()
    supernet.load_state_dict(
        torch.load(folder / "checkpoints" / f"{LAST}.pt", weights_only=True)["state"]["learner"]["supernet"]
    )
    expected = build_network(SPACE.plan(architecture))
    SPACE.copy_weights(supernet, role, architecture, expected)  # with three layers no cell can go
    for name, tensor in expected.state_dict().items():
        assert torch.equal(network.state_dict()[name], tensor), name


def test_removed_skips_are_stepped_over(tmp_path: Path) -> None:
    """A supernet of seven layers; the third cell goes, and the fourth takes the weights of its own layer."""
    space = create_space(
        SpaceSpec(name="fasterseg", input_size=(64, 64), parameters={"layers": 7, "base_channels": 3, "widths": (4, 8)})
    )
    torch.manual_seed(0)
    supernet = space.supernet()
    logits = {name: getattr(ArchitectureParameters.zeros(space.parameter_shapes()), name) for name in GRANULARITIES}
    logits["alpha"][:, 1] = 5.0
    logits["alpha"][2, 0] = 9.0  # layer 2 at the finest scale, whose rows are first
    state = {"supernet": supernet.state_dict(), "networks": {"student": logits}}
    begin_run(tmp_path, "search")
    Checkpoints(tmp_path).save(LAST, {"learner": state}, small())
    given = probabilities(ArchitectureParameters(space.parameter_shapes(), **logits))
    architecture = space.decode(given, alternative="8")
    assert len(branches_of(architecture)[0].operators) == 6
    network = build_network(space.plan(architecture))
    supernet_weights(tmp_path, space, "student", architecture)(network)
    for cell, layer in enumerate((0, 1, 3, 4, 5, 6)):
        copied = network.get_parameter(f"steps.branch0_cell{cell}.conv1.weight")
        rows, columns = copied.shape[:2]
        mixed = supernet.cell(layer, 8, 1)  # type: ignore[operator]
        assert torch.equal(copied, mixed.choice("conv3x3").conv1.weight[:rows, :columns]), cell
    whole = space.decode(given, alternative="8", options=DecodeOptions(exact=True))
    supernet_weights(tmp_path, space, "student", whole)(build_network(space.plan(whole)))


def test_a_network_whose_operators_removal_decided_is_refused(finished: tuple[Path, SearchResult]) -> None:
    """The supernet was trained by the searched logits; which layers of it such a network has, they do not say."""
    folder, result = finished
    student = result.architecture("student")
    logits = ArchitectureParameters.from_json(json.loads((folder / "parameters-student.json").read_text()), SHAPES)
    rows = []
    for group, (count, columns) in SHAPES["alpha"].items():
        for row in range(count):
            highest = int(logits.group("alpha", group)[row].argmax())
            chosen = highest % (columns - 1) + 1  # another, and no skip
            without = tuple(0.1 if column == chosen else 0.2 for column in range(columns))
            rows.append(DecidedRow(group=group, row=row, highest=highest, chosen=chosen, without=without))
    decided = decided_parameters(logits, Perturbation(before=0.2, after=0.2, rows=tuple(rows)))
    network = SPACE.decode(probabilities(decided), alternative=SPACE.alternative_of(student))
    assert network != student
    with pytest.raises(InvalidSpecError, match="stand for another architecture") as caught:
        supernet_weights(folder, SPACE, "student", network)
    assert "`derive --perturb` decided from random weights" in caught.value.hint


def test_what_does_not_belong_to_the_search_is_refused(finished: tuple[Path, SearchResult], tmp_path: Path) -> None:
    folder, result = finished
    student = result.architecture("student")
    begin_run(tmp_path / "empty", "search")
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        supernet_weights(tmp_path / "empty", SPACE, "student", student)
    begin_run(tmp_path / "training", "training")
    Checkpoints(tmp_path / "training").save(LAST, {"network": {}}, small())
    with pytest.raises(RunFolderError, match="holds a run of kind training, not search"):
        supernet_weights(tmp_path / "training", SPACE, "student", student)
    with pytest.raises(InvalidSpecError, match="unknown role 'pupil'"):
        supernet_weights(folder, SPACE, "pupil", student)
    kinds = tuple("zoomed_conv3x3_x2" if kind == "conv3x3" else "conv3x3" for kind in branches_of(student)[0].operators)
    first, *others = branches_of(student)
    other = with_branches(student, [first.model_copy(update={"operators": kinds}), *others])
    with pytest.raises(InvalidSpecError, match="stand for another architecture"):
        supernet_weights(folder, SPACE, "student", other)
    wider = create_space(SpaceSpec(name="fasterseg", input_size=(64, 64), parameters={"layers": 4, "base_channels": 3}))
    with pytest.raises(CheckpointError, match="its supernet is not that of"):
        supernet_weights(folder, wider, "student", student)
