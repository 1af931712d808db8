"""Operators decided by their removal: on mixtures whose worth is known, and within a searched supernet."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from models.spaces.registry import create_space
from models.spec.architectures import SpaceSpec
from models.spec.errors import ExitCode, InvalidSpecError, UnknownNameError
from models.spec.table_files import TableFormat, write_table
from models.supernets.base import Mixture
from nas_client.errors import CheckpointError, DatasetError, RunFolderError
from nas_client.latency.parameters import ArchitectureParameters
from nas_client.runs.config import write_config
from nas_client.runs.manifest import CONFIG, begin_run
from nas_client.search.cosearch import search
from nas_client.search.derivation import derive
from nas_client.search.selection_images import selection_split
from nas_client.selection import scoring
from nas_client.selection.perturbation import decided_parameters, perturb, perturb_search
from tests.support.client_command import Command
from tests.support.client_command import command_fixture as command_fixture
from tests.support.searches import SPACE, StopAfter, prepared, small, small_table

GROUPS = {"a": (2, 3), "b": (1, 1), "c": (1, 2)}
ALPHA = [[0.5, 0.3, 0.2], [0.2, 0.2, 0.6], [1.0, 0.0, 0.0], [0.4, 0.6, 0.0]]


OTHERS = [
    SpaceSpec(
        name="rspnet",
        input_size=(32, 32),
        parameters={"layers": 1, "stack": 1, "part": 2, "base_width": 4, "stem_width": 4, "scales": 2},
    ),
    SpaceSpec(
        name="search_net",
        input_size=(32, 32),
        parameters={"base_channels": 4, "levels": 2, "nodes": 2, "operators": (3, 7), "sharing": 1},
    ),
]


def mixed() -> Mixture:
    return Mixture(torch.tensor(ALPHA), torch.zeros(0, 1), ())


def test_each_row_keeps_the_operator_whose_removal_costs_most_and_the_likelier_of_equals() -> None:
    worth = torch.tensor([[0.0, 0.1, 0.9], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.3, 0.0, 0.0]])
    seen: list[tuple[int, int]] = []
    found = perturb(
        lambda mixture: float((worth * mixture.alpha).sum()),
        mixed(),
        GROUPS,
        seed=1,
        watch=lambda done, total: seen.append((done, total)),
    )
    rows = {(row.group, row.row): row for row in found.rows}
    assert rows.keys() == {("a", 0), ("a", 1), ("c", 0)}, "the row of one choice has nothing to decide"
    assert {place: (row.highest, row.chosen) for place, row in rows.items()} == {
        ("a", 0): (0, 2),  # 0.2 · 0.9 is more than 0.3 · 0.1 and nothing
        ("a", 1): (2, 2),  # no removal costs anything
        ("c", 0): (1, 0),
    }
    assert [row.differs for row in rows.values()].count(True) == 2
    assert found.before == pytest.approx(0.3 * 0.1 + 0.2 * 0.9 + 0.4 * 0.3)
    assert found.after == pytest.approx(0.9 + 0.3)
    assert seen == [(done, 10) for done in range(1, 11)], "3 + 3 + 2 removals, and the mixture before and after"


def test_rows_are_decided_in_a_seeded_order_each_given_those_before() -> None:
    orders = set()
    for seed in range(6):
        mixtures: list[Mixture] = []

        def score(mixture: Mixture, into: list[Mixture] = mixtures) -> float:
            into.append(mixture)
            return -float(mixture.alpha[:, 0].sum())  # the first operators do harm

        found = perturb(score, mixed(), GROUPS, seed=seed)
        assert perturb(lambda mixture: -float(mixture.alpha[:, 0].sum()), mixed(), GROUPS, seed=seed) == found
        orders.add(tuple((row.group, row.row) for row in found.rows))
        stacked = {"a": 0, "c": 3}
        assert mixtures[0].operators == (None, None, 0, None)
        done = 1
        for place, row in enumerate(found.rows):
            assert row.chosen == (2 if (row.group, row.row) == ("a", 1) else 1), "the likelier of those that do none"
            own = stacked[row.group] + row.row
            for column in range(len(row.without)):
                mixture = mixtures[done]
                done += 1
                assert mixture.alpha[own].tolist() == [
                    0 if at == column else weight for at, weight in enumerate(torch.tensor(ALPHA)[own].tolist())
                ]
                for before in found.rows[:place]:
                    at = stacked[before.group] + before.row
                    assert mixture.operators is not None
                    assert mixture.operators[at] == before.chosen
                    assert mixture.alpha[at].tolist() == [float(index == before.chosen) for index in range(3)]
    assert len(orders) > 1


def test_decided_logits_are_in_the_order_of_what_removals_cost() -> None:
    parameters = ArchitectureParameters.zeros({"alpha": GROUPS, "beta": {"p": (1, 2)}})
    parameters.alpha[0] = torch.tensor([0.0, 1.0, 2.0])
    found = perturb(lambda mixture: float(mixture.alpha[0, 0]), mixed(), GROUPS, seed=0)
    decided = decided_parameters(parameters, found)
    assert decided.alpha[0].argsort(descending=True).tolist() == [0, 2, 1], "of equals the likelier first"
    assert decided.alpha[0].softmax(0)[0] > 1 - 1e-6
    assert parameters.alpha[0].tolist() == [0.0, 1.0, 2.0], "the searched ones stay"


def test_a_decided_row_is_alone_computed_and_counts_as_the_whole_mixture_would() -> None:
    learner = prepared()
    network = learner.networks["student"]
    mixture = network.most_probable_widths()
    alpha = mixture.alpha.clone()
    alpha[0] = torch.nn.functional.one_hot(torch.tensor(2), alpha.shape[1]).float()
    part = Mixture(alpha, mixture.beta, mixture.widths, operators=(2, *[None] * (len(alpha) - 1)))
    called: list[str] = []
    for name, module in learner.supernet.named_modules():
        if name.rpartition(".")[0].endswith(".choices"):
            module.register_forward_hook(lambda *_, name=name: called.append(name))
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    learner.supernet.eval()
    with torch.no_grad():
        whole = learner.passes.predict(images, Mixture(alpha, mixture.beta, mixture.widths), "student").combined
        everything = len(called)
        alone = learner.passes.predict(images, part, "student").combined
    assert 0 < len(called) - everything < everything
    for label, scores in whole.items():
        torch.testing.assert_close(alone[label], scores, rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("perturbed") / "run"
    search(small(search__epochs=1, search__architecture={"lr": 0.5}, selection={"images": 2}), small_table(), folder)
    return folder


def test_derive_decides_on_images_that_no_weights_have_seen_and_says_which_rows_differ(
    finished: Path, tmp_path: Path, nas_client: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, decided = tmp_path / "table.arrow", tmp_path / "decided.json"
    write_table(small_table().table, table, TableFormat.ARROW)
    evaluated: list[Any] = []
    batches = scoring.evaluation_batches
    monkeypatch.setattr(scoring, "evaluation_batches", lambda *a, **k: evaluated.append(k["indices"]) or batches(*a, **k))
    found = nas_client("derive", "--table", table, "--perturb", finished, "--save-parameters", decided, "--json").document
    assert evaluated == [selection_split(8, small(selection={"images": 2}))[1]]
    rows = found["perturbation"]["rows"]
    shapes = SPACE.parameter_shapes()["alpha"]
    assert len(rows) == sum(count for count, choices in shapes.values() if choices > 1)
    logits = json.loads((finished / "parameters-student.json").read_text())["alpha"]
    saved = json.loads(decided.read_text())["alpha"]
    for row in rows:
        before, after = logits[row["group"]][row["row"]], saved[row["group"]][row["row"]]
        assert before.index(max(before)) == row["highest"]
        assert after.index(max(after)) == row["chosen"]
        assert row["without"][row["chosen"]] == min(row["without"])
        assert row["differs"] == (row["highest"] != row["chosen"])
        assert row["spread"] == pytest.approx(max(row["without"]) - min(row["without"]))
    again = nas_client("derive", "--table", table, "--parameters", decided, "--json").document
    assert [one["architecture"] for one in again["architectures"]] == [one["architecture"] for one in found["architectures"]]
    plain = nas_client("derive", "--table", table, "--parameters", finished / "parameters-student.json", "--json").document
    assert found["firmness"]["alpha"]["entropy"] == pytest.approx(plain["firmness"]["alpha"]["entropy"], rel=1e-5)
    shown = nas_client("derive", "--table", table, "--perturb", finished, "--role", "teacher")
    assert shown.code == ExitCode.DONE
    assert re.search(r"operators by removal: \d+ of \d+ rows differ from the highest α; mIoU .* on 2 images", shown.out)
    assert re.search(r"the worst removal of a row: \d\.\d{4} \(median\)", shown.out)


@pytest.mark.parametrize("space", OTHERS, ids=lambda space: space.name)
def test_every_space_is_decided_through_its_rows(space: SpaceSpec, tmp_path: Path) -> None:
    """RSPNet's rows each have many edges, and its β is not searched here; SEARCH-Net's rows are those of several cells."""
    phase = {"epochs": 1, "batch_size": 2, "crop": space.input_size, "searches": ["alpha"], "architecture": {"lr": 0.1}}
    data = {"image_size": space.input_size, "train_images": 4, "val_images": 1}
    config = small(search=phase, second={"searches": ["beta"]}, pretrain__epochs=0, data=data, selection={"images": 1})
    search(config, small_table(space), tmp_path)
    found = perturb_search(tmp_path, small_table(space))
    shapes = found.searched.shapes["alpha"]
    assert len(found.perturbation.rows) == sum(rows for rows, choices in shapes.values() if choices > 1)
    assert any(len(set(row.without)) > 1 for row in found.perturbation.rows), "removals count"
    derived = derive(found.decided, small_table(space))
    again = ArchitectureParameters.from_json(found.decided.to_json(), create_space(space).parameter_shapes())
    assert derive(again, small_table(space)).architecture == derived.architecture


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "give one of --parameters, a file of logits, and --perturb, the folder of a search"),
        (("--parameters", "a.json", "--perturb", "run"), "give one of --parameters"),
        (("--parameters", "a.json", "--images", "3"), "--images and --save-parameters belong to --perturb"),
        (("--parameters", "a.json", "--target-ms", "5"), "--target-ms and --exponent belong to --accuracies"),
        (("--parameters", "a.json", "--exponent", "0"), "--target-ms and --exponent belong to --accuracies"),
    ],
)
def test_options_that_contradict_each_other_are_refused(nas_client: Command, arguments: tuple[str, ...], said: str) -> None:
    ended = nas_client("derive", "--table", "table.arrow", *arguments)
    assert ended.code == ExitCode.USAGE
    assert said in " ".join(ended.err.replace("│", " ").split())


def test_what_cannot_be_perturbed_is_refused(finished: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="5 images, of 4 in the second half") as caught:
        perturb_search(finished, small_table(), images=5)
    assert "--images 4 or fewer" in str(caught.value.hint)
    with pytest.raises(UnknownNameError, match="role"):
        perturb_search(finished, small_table(), role="pupil")
    with pytest.raises(RunFolderError):
        perturb_search(tmp_path, small_table())
    wider = create_space(SPACE.spec.model_copy(update={"parameters": {**SPACE.spec.parameters, "base_channels": 6}}))
    with pytest.raises(CheckpointError, match="its supernet is not that of"):
        perturb_search(finished, small_table(wider.spec))
    stopped = tmp_path / "stopped"
    assert not search(small(), small_table(), stopped, watch=StopAfter(1)).finished
    with pytest.raises(CheckpointError, match="has not ended"):
        perturb_search(stopped, small_table())
    for config, message in (
        (small(method="evolution"), "a search by evolution trains no α"),
        (small(second__epochs=1, second__searches=["beta"]), r"second\.epochs is 1: the second phase trained the operators"),
    ):
        folder = tmp_path / message[:8]
        begin_run(folder, "search")
        write_config(config, folder / CONFIG)
        with pytest.raises(InvalidSpecError, match=message):
            perturb_search(folder, small_table())
