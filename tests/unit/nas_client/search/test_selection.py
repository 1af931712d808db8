"""Searches by evolution and selections from finished searches: what they leave, how they stop and go on."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.networks.module import build_network
from models.spaces.base import DecodeOptions
from models.spaces.registry import create_space
from models.spec.architectures import ArchitectureSpec, SpaceSpec
from models.spec.errors import InvalidSpecError
from models.spec.tables import Table
from nas_client.data.base import Sample, SegmentationDataset
from nas_client.data.classes import IGNORE
from nas_client.data.datasets import open_dataset
from nas_client.data.parts import PartOfDataset
from nas_client.errors import CheckpointError, DatasetError, RunFolderError
from nas_client.estimates import estimate
from nas_client.experiments.random_networks import _trial
from nas_client.latency.parameters import ArchitectureParameters
from nas_client.report.page import report
from nas_client.runs.config import read_config
from nas_client.runs.journal import read_journal
from nas_client.runs.manifest import read_manifest
from nas_client.runs.processes import Processes
from nas_client.search.config import SearchConfig
from nas_client.search.cosearch import CoSearch, search
from nas_client.search.derivation import probabilities
from nas_client.search.epochs import SearchEpoch
from nas_client.search.first_weights import supernet_weights
from nas_client.search.outcome import SearchResult
from nas_client.search.progress import SearchObserver
from nas_client.search.selection_images import selection_split
from nas_client.search.setup import SearchData
from nas_client.selection.candidates import CANDIDATES, Candidate, read_candidates
from nas_client.selection.inputs import own_network, require_space_of, selection_config
from nas_client.selection.outcome import SelectionResult
from nas_client.selection.run import SELECTION, select
from nas_client.selection.short_trainings import TRAININGS, train_shortly, training_config
from nas_client.table import LookupTable
from tests.support.data_layouts import write_folder
from tests.support.searches import SPACE, small, small_table
from tests.support.selections import evolving

TARGETS = (5.5, 7.0)


class Stop(SearchObserver):
    """Sends a signal once so much of that has been done."""

    def __init__(self, what: str, done: int) -> None:
        self.at = what, done

    def selection(self, what: str, done: int, total: int) -> None:
        if (what, done) == self.at:
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.fixture(scope="module")
def evolved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SearchResult]:
    folder = tmp_path_factory.mktemp("evolved") / "run"
    return folder, search(evolving(selection={"latency_ms": TARGETS, "front": True}), small_table(), folder)


def selection_of(folder: Path) -> SelectionResult:
    return SelectionResult.parse_json((folder / "result.json").read_bytes())


def lines_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / CANDIDATES).read_text().splitlines()]


def test_a_search_by_evolution_leaves_candidates_a_front_and_a_network_for_each_target(
    evolved: tuple[Path, SearchResult],
) -> None:
    folder, result = evolved
    table, found = small_table(), selection_of(folder / SELECTION)
    candidates = read_candidates(folder / SELECTION / CANDIDATES)
    assert result.finished
    assert found.finished
    assert (read_manifest(folder).kind, read_manifest(folder / SELECTION).kind) == ("search", "selection")
    assert list(found.chosen) == ["5.5 ms", "7 ms", "front"]
    assert found.evaluated == len(candidates) > 30
    assert len({SPACE.settled(candidate.choices) for candidate in candidates}) == len(candidates), "none is evaluated twice"
    for candidate in candidates[::5]:
        assert candidate.architecture == SPACE.network_of(candidate.choices)
        assert candidate.latency_ms == pytest.approx(estimate(candidate.architecture, table).sum_ms)
    for target, name in zip(TARGETS, ("student-5.5ms", "student-7ms"), strict=True):
        chosen = found.chosen[f"{target:g} ms"]
        assert chosen.latency_ms + chosen.stderr_ms <= target
        assert ArchitectureSpec.parse_json((folder / SELECTION / f"{name}.json").read_bytes()) == chosen.architecture
        shortlist = [c for c in found.trained if c.latency_ms + c.stderr_ms <= target]
        assert chosen.trained is not None
        assert any(chosen.trained == other.trained for other in shortlist)
    accuracies = [candidate.accuracy for candidate in found.front]
    assert accuracies == sorted(set(accuracies))
    for candidate in candidates:
        bound = candidate.latency_ms + candidate.stderr_ms
        assert any(f.latency_ms + f.stderr_ms <= bound and f.accuracy >= candidate.accuracy for f in found.front)
    front = json.loads((folder / SELECTION / "front.json").read_text())["front"]
    assert len(front) == len(found.front)
    assert (folder / SELECTION / "front.svg").read_text().startswith("<?xml")
    assert result.architecture("student") == found.chosen["5.5 ms"].architecture
    assert ArchitectureSpec.parse_json((folder / "student.json").read_bytes()) == result.architecture("student")


def test_only_the_supernet_is_trained_and_on_no_image_of_selection_or_judging(evolved: tuple[Path, SearchResult]) -> None:
    folder, _ = evolved
    (line,) = read_journal(folder, SearchEpoch)
    assert (line.phase, line.steps) == ("pretrain", 3), "six of eight images, two a step"
    assert set(line.losses) == {"weights_student", "distillation"}
    for config in (evolving(), small(selection__images=2)):
        trained_on, selection = selection_split(8, config)
        assert sorted({*trained_on, *selection}) == list(range(8))
        assert len(selection) == 2
        assert not set(trained_on) & set(selection)
    runs = [path for path in (folder / SELECTION / TRAININGS).iterdir() if path.is_dir()]
    assert len(runs) == len(selection_of(folder / SELECTION).trained) > 2
    assert training_config(evolving()).epochs == 1
    assert training_config(evolving(loss="dice")).losses.kind == "dice"


def test_what_short_trainings_would_refuse_is_refused_before_the_supernet_is_trained() -> None:
    with pytest.raises(InvalidSpecError, match=r"data\.cache keeps samples .* workers is 2") as caught:
        SearchConfig.parse({"method": "evolution", "data": {"cache": True}, "workers": 2})
    assert caught.value.hint == "Set workers=0, or data.cache=false."
    most: dict[str, Any] = {
        "workers": 128,
        "pretrain": {"batch_size": 4096},
        "evaluation": {"batch_size": 1024, "statistics_batches": 100_000},
        "selection": {"training": {"batch_size": 4096, "epochs": 100_000}},
    }
    config = training_config(SearchConfig.parse(most))
    assert (config.workers, config.batch_size, config.epochs) == (128, 4096, 100_000)
    assert (config.validation.batch_size, config.validation.statistics_batches) == (1024, 100_000)
    assert training_config(SearchConfig.parse({**most, "selection": {}})).batch_size == 4096
    for path in _paths(most):
        with pytest.raises(InvalidSpecError, match=re.escape(f"SearchConfig.{path}: Input should be less than")):
            read_config(SearchConfig, None, [f"{path}=1000000"])


@pytest.mark.parametrize("method", ["gradient", "evolution"])
def test_images_of_different_sizes_are_refused_before_the_supernet_is_trained(tmp_path: Path, method: str) -> None:
    """Those that are evaluated: of the validation split, or of selection; those that are trained on may differ."""
    selection = selection_split(8, small(selection__images=2))[1]
    judged = {f"train/{selection[0]}", f"train/{selection[1]}"} if method == "evolution" else {"val/0", "val/1"}
    names = [*(f"train/{index}" for index in range(8)), "val/0", "val/1"]

    def opened(larger: str) -> SearchData:
        labels = {name: np.zeros((64, 96 if name == larger else 64), np.uint8) for name in names}
        write_folder(tmp_path / larger, labels, classes=[f"class {index}" for index in range(19)])
        data = {"name": "folder", "root": tmp_path / larger}
        config = small(method=method, data=data, evaluation__batch_size=2, selection__images=2)
        return SearchData.open(config, SPACE, Processes())

    for larger in judged:
        with pytest.raises(DatasetError, match=r"evaluation\.batch_size: 2, .* 64×\d+ and 64×\d+") as caught:
            opened(larger)
        assert caught.value.hint == "Set evaluation.batch_size to 1."
    opened(next(name for name in names if name not in judged))


def _paths(fields: dict[str, Any], above: str = "") -> Iterator[str]:
    for name, value in fields.items():
        if isinstance(value, dict):
            yield from _paths(value, f"{above}{name}.")
        else:
            yield above + name


def test_a_search_can_be_evaluated_on_the_images_of_selection_alone() -> None:
    """Which then are as many as `evaluation.images` leaves."""
    config = small(selection__images=3, evaluation__split="selection", evaluation__images=2)
    data = SearchData.open(config, SPACE, Processes())
    chosen = selection_split(8, config)[1]
    found, expected = list(data.validating()), [data.train.sample(index) for index in chosen[:2]]
    assert len(found) == 2
    for batch, sample in zip(found, expected, strict=True):
        assert torch.equal(batch.labels[0], torch.as_tensor(sample.labels))
    with pytest.raises(DatasetError, match=r"selection\.images: 5, of 4 images"):
        SearchData.open(small(selection__images=5, evaluation__split="selection"), SPACE, Processes())


def copied(folder: Path, to: Path) -> Path:
    """A search whose supernet is trained, and whose selection has not begun; its short trainings are not done again."""
    shutil.copytree(folder, to)
    for path in (to / SELECTION).iterdir():
        if path.name != TRAININGS:
            path.unlink()
    return to


@pytest.mark.parametrize("stop", [("candidates", 1), ("candidates", 20), ("short trainings", 1)])
def test_a_stopped_selection_goes_on_and_ends_the_same(
    tmp_path: Path, evolved: tuple[Path, SearchResult], stop: tuple[str, int]
) -> None:
    whole, config = evolved[0] / SELECTION, selection_config(evolved[0])
    run = copied(evolved[0], tmp_path / "run")
    stopped = select(run, small_table(), run / SELECTION, config, watch=Stop(*stop).selection)
    assert not stopped.finished
    assert not stopped.chosen
    before = lines_of(run / SELECTION)
    assert before == lines_of(whole)[: len(before)]
    assert (len(before) == stop[1]) == (stop[0] == "candidates")
    if stop[0] == "candidates":
        with (run / SELECTION / CANDIDATES).open("ab") as file:
            file.write(b'{"accuracy": 0.5, "goal": "\xc3')  # a line that was being written when the process was killed
    with pytest.raises(CheckpointError, match="already holds a selection"):
        select(run, small_table(), run / SELECTION, config)
    resumed = search(config, small_table(), run, resume=True)
    assert resumed == evolved[1]
    assert lines_of(run / SELECTION) == lines_of(whole)


def test_another_table_needs_no_training(tmp_path: Path, evolved: tuple[Path, SearchResult]) -> None:
    """Accuracies are taken over; latencies are the other table's."""
    run, slower = evolved[0], scaled(small_table(), 2.0)
    config = selection_config(run, ["selection.latency_ms=[11.0]", "selection.front=false", "selection.generations=1"])
    found = select(run, slower, tmp_path / "other", config)
    assert found.known == selection_of(run / SELECTION).evaluated
    assert not (tmp_path / "other" / TRAININGS).exists()
    assert found.trained == ()
    (chosen,) = found.chosen.values()
    assert chosen.latency_ms == pytest.approx(estimate(chosen.architecture, slower).sum_ms)
    assert chosen.latency_ms + chosen.stderr_ms <= 11.0
    before = selection_of(run / SELECTION)
    best = max(c.accuracy for c in read_candidates(run / SELECTION / CANDIDATES) if c.bound_ms(1.0) <= 5.5)
    assert chosen.accuracy >= best, "every candidate of the first selection takes twice as long here"
    assert before.table != found.table or before.target == found.target


def test_candidates_that_are_taken_over_have_the_other_input_size(tmp_path: Path, evolved: tuple[Path, SearchResult]) -> None:
    wider = small_table(SPACE.spec.model_copy(update={"input_size": (64, 128)}))
    settings = ["latency_ms=[]", "front=true", "generations=0", "population=2"]
    found = select(
        evolved[0], wider, tmp_path / "wider", selection_config(evolved[0], [f"selection.{text}" for text in settings])
    )
    assert found.known == selection_of(evolved[0] / SELECTION).evaluated
    for candidate in found.front:
        assert candidate.architecture.input_size == (64, 128)
        assert candidate.latency_ms == pytest.approx(estimate(candidate.architecture, wider).sum_ms)


def scaled(table: LookupTable, factor: float) -> LookupTable:
    whole = table.table
    entries = tuple(
        entry.model_copy(update={"value_ms": factor * entry.value_ms, "stderr_ms": factor * entry.stderr_ms})
        for entry in whole.entries
        if entry.value_ms is not None and entry.stderr_ms is not None
    )
    return LookupTable(Table(info=whole.info, entries=entries))


def test_uncertain_entries_count_with_their_uncertainty(tmp_path: Path, evolved: tuple[Path, SearchResult]) -> None:
    """A network is not chosen where only its estimate meets the target."""
    settings = ["sigmas=10", "latency_ms=[5.5]", "front=false", "generations=0"]
    strict = selection_config(evolved[0], [f"selection.{setting}" for setting in settings])
    found = select(evolved[0], small_table(), tmp_path / "strict", strict)
    (chosen,) = found.chosen.values()
    assert chosen.stderr_ms > 0
    assert chosen.latency_ms + 10 * chosen.stderr_ms <= 5.5


def test_any_finished_search_can_be_selected_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gradient search, too: what it chooses from comes first; no candidate ends where the supernet has no head."""
    run = tmp_path / "run"
    heads = ("8,16", "16,32")
    search(small(pretrain__epochs=0, search__epochs=1, heads=heads), small_table(), run)
    settings = ["images=2", "population=5", "generations=1", "mutation=0.9", "shortlist=0", "latency_ms=[9]"]
    config = selection_config(run, [f"selection.{setting}" for setting in settings])
    logits = torch.load(run / "checkpoints" / "last.pt", weights_only=True)["state"]["learner"]["networks"]["student"]
    added = torch.tensor([[0.0, 9.0]]).expand_as(logits["beta"])  # as a supernet's statistics may say
    monkeypatch.setattr("models.supernets.base.Supernet.path_logits", lambda _: added)
    found = select(run, small_table(), tmp_path / "selected", config)
    assert found.finished
    assert [warning.partition(":")[0] for warning in found.warnings] == ["No network was trained shortly"]
    candidates = read_candidates(tmp_path / "selected" / CANDIDATES)
    given = probabilities(ArchitectureParameters(SPACE.parameter_shapes(), **{**logits, "beta": logits["beta"] + added}))
    expected = [SPACE.decode(given, alternative=head, options=DecodeOptions(exact=True)) for head in heads]
    assert [c.architecture for c in candidates[:2]] == expected
    assert [c.alternative for c in candidates[:2]] == list(heads)
    assert {c.alternative for c in candidates} == set(heads)


def test_what_is_found_can_be_trained_further(tmp_path: Path, evolved: tuple[Path, SearchResult]) -> None:
    """From the supernet's weights; and in an experiment, in which it has no teacher."""
    folder, result = evolved
    architecture = result.architecture("student")
    network, expected = (build_network(SPACE.plan(architecture)) for _ in range(2))
    supernet_weights(folder, SPACE, "student", architecture)(network)
    supernet = SPACE.supernet()
    supernet.load_state_dict(torch.load(folder / "checkpoints" / "last.pt", weights_only=True)["state"]["learner"]["supernet"])
    SPACE.copy_weights(supernet, "student", architecture, expected)
    for name, tensor in expected.state_dict().items():
        assert torch.equal(network.state_dict()[name], tensor), name
    trial = _trial(folder, small_table(), tmp_path, 1, ("sampled",), 0.5)
    assert (trial.found, trial.teacher) == ("student", None)
    assert set(trial.networks) == {"student", "random0"}


class Unlabelled(PartOfDataset):
    """Images whose labels do not count, but for those at some indices."""

    def __init__(self, whole: SegmentationDataset, labelled: Sequence[int]) -> None:
        super().__init__(whole, range(len(whole)))
        self.labelled = labelled

    def read(self, index: int) -> Sample:
        image, labels = super().read(index)
        return Sample(image, labels if index in self.labelled else np.full_like(labels, IGNORE))


def test_networks_are_not_ranked_by_images_without_a_label(tmp_path: Path, evolved: tuple[Path, SearchResult]) -> None:
    """They would all be worth nothing, and the first would be the best."""
    config = evolving()
    split = selection_split(8, config)
    images = Unlabelled(open_dataset(config.data, "train"), labelled=split[0])
    candidates = read_candidates(evolved[0] / SELECTION / CANDIDATES)[:2]
    with pytest.raises(DatasetError, match=r"no mIoU: .* \(selection\.images: 2\) has a labelled pixel") as caught:
        train_shortly(candidates, config, images, split, tmp_path, Processes(), lambda done, total: None)
    assert caught.value.hint == "Set selection.images to more."


class TestWhatDoesNotFit:
    def test_a_target_below_all_networks(self, tmp_path: Path, evolved: tuple[Path, SearchResult]) -> None:
        config = selection_config(evolved[0], ["selection.latency_ms=[0.5]"])
        with pytest.raises(InvalidSpecError, match=r"latency_ms: 0\.5 is less than .* the fastest takes [2-5]\.\d+ ms"):
            select(evolved[0], small_table(), tmp_path / "s", config)

    def test_settings_of_the_search_itself(self, evolved: tuple[Path, SearchResult]) -> None:
        with pytest.raises(InvalidSpecError, match=r"seed: 7 here, 5 there: a selection has these from its search"):
            selection_config(evolved[0], ["seed=7"])
        with pytest.raises(InvalidSpecError, match=r"selection\.images: 4; the search kept 2"):
            selection_config(evolved[0], ["selection.images=4"])
        with pytest.raises(InvalidSpecError, match="targets must differ"):
            selection_config(evolved[0], ["selection.latency_ms=[6, 6]"])

    def test_too_few_images(self, tmp_path: Path) -> None:
        with pytest.raises(DatasetError, match=r"selection\.images: 5, of 4 images"):
            search(evolving(selection={"images": 5}), small_table(), tmp_path)

    def test_a_damaged_line_is_named(self, tmp_path: Path) -> None:
        (tmp_path / CANDIDATES).write_bytes(b'{"goal": "7 ms{"goal": "7 ms"}\n')
        with pytest.raises(InvalidSpecError, match=r"candidates\.jsonl, line 1: not a JSON document"):
            read_candidates(tmp_path / CANDIDATES)

    def test_other_inputs_are_not_resumed(self, evolved: tuple[Path, SearchResult]) -> None:
        config = selection_config(evolved[0], ["selection.population=7"])
        with pytest.raises(CheckpointError, match=r"config\.selection\.population: 7 here, 6 there"):
            select(evolved[0], small_table(), evolved[0] / SELECTION, config, resume=True)
        with pytest.raises(RunFolderError, match="holds a run of kind search, not selection"):
            select(evolved[0], small_table(), evolved[0], resume=True)
        with pytest.raises(RunFolderError, match="holds no run"):
            select(evolved[0] / TRAININGS, small_table(), evolved[0])

    def test_a_search_that_has_not_ended(self, tmp_path: Path) -> None:
        run = CoSearch(small(), small_table(), tmp_path / "run", Processes(), SearchObserver())
        run.prepare(resume=False, pretrained=None)
        with pytest.raises(CheckpointError, match="the search has not ended") as caught:
            select(tmp_path / "run", small_table(), tmp_path / "s", selection_config(tmp_path / "run", ["selection.images=2"]))
        assert "--resume" in caught.value.hint

    def test_a_table_of_another_space(self, tmp_path: Path, evolved: tuple[Path, SearchResult]) -> None:
        wider = SPACE.spec.model_copy(update={"parameters": {**SPACE.spec.parameters, "base_channels": 6}})
        with pytest.raises(CheckpointError, match="its supernet is not that of"):
            select(evolved[0], small_table(wider), tmp_path / "s")
        require_space_of(evolved[0], SPACE, "student")
        with pytest.raises(CheckpointError, match=r"not that of .*base_channels"):
            require_space_of(evolved[0], create_space(wider), "student")

    def test_a_space_whose_networks_differ_though_weights_do_not(self, tmp_path: Path) -> None:
        """SiLU and ReLU have no weights: only the networks tell."""
        spec = SpaceSpec(name="search_net", input_size=(64, 64), parameters={"levels": 1, "base_channels": 8})
        relu = create_space(spec)
        silu = create_space(spec.model_copy(update={"parameters": {**spec.parameters, "silu": 1}}))
        choices = relu.random_choices(np.random.default_rng(0))
        network = relu.network_of(choices)
        candidate = Candidate(
            goal="front",
            generation=0,
            alternative="",
            latency_ms=1,
            stderr_ms=0,
            accuracy=0.5,
            choices=choices,
            architecture=network,
        )
        assert own_network(candidate, relu, tmp_path) == network
        with pytest.raises(CheckpointError, match=r"not that of .*: parameters\.silu: 1 here, 0 there"):
            own_network(candidate, silu, tmp_path)


def test_the_report_draws_every_network_of_the_front(evolved: tuple[Path, SearchResult]) -> None:
    folder, _ = evolved
    found = selection_of(folder / SELECTION)
    page = report(folder)
    points = {c.architecture.key() for c in (*found.front, *found.chosen.values())}
    (chart,) = re.findall(r'<svg role="img" aria-label="Candidates and front.*?</svg>\s*</div>', page, re.DOTALL)
    assert chart.count('class="point" tabindex="0"') == len(points) == chart.count('preserveAspectRatio="xMinYMin meet"')
    assert chart.count('class="dot"') == found.evaluated
    ids = re.findall(r'\sid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    for warning in found.warnings:
        assert warning[14:50] in page
    assert "Training" not in re.findall(r"<h2>(.*?)</h2>", page), "short trainings are part of the selection"
