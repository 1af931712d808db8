"""Whole searches: what they leave, how they stop, go on and end."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from models.networks.module import build_network
from models.spec.architectures import ArchitectureSpec, SpaceSpec
from models.spec.errors import InvalidSpecError, MissingEntryError, TableMismatchError
from models.spec.tables import Table
from nas_client.data.base import CheckProgress
from nas_client.data.datasets import SyntheticStreets
from nas_client.errors import CheckpointError, DatasetError, DivergenceError, RunFolderError, ShapeError
from nas_client.runs.journal import read_journal
from nas_client.runs.manifest import begin_run, read_manifest
from nas_client.runs.processes import Processes
from nas_client.search.cosearch import LAST, PRETRAINED, CoSearch, search
from nas_client.search.epochs import Phase, SearchEpoch
from nas_client.search.outcome import SearchResult
from nas_client.search.progress import SearchObserver
from nas_client.table import LookupTable
from tests.support.fasterseg_networks import branches_of
from tests.support.searches import SPACE, StopAfter, prepared, small, small_table
from tests.support.toy_space import ToySpace


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SearchResult]:
    folder = tmp_path_factory.mktemp("searches") / "run"
    return folder, search(small(), small_table(), folder)


def state(folder: Path, name: str = LAST) -> dict[str, Any]:
    saved: dict[str, Any] = torch.load(folder / "checkpoints" / f"{name}.pt", weights_only=True)["state"]
    return saved


def assert_same(mine: Any, theirs: Any, path: str = "") -> None:
    """Bit for bit, times of day excepted."""
    if isinstance(mine, dict):
        assert mine.keys() == theirs.keys(), path
        for key in mine:
            if key not in ("step_s", "latency_s"):
                assert_same(mine[key], theirs[key], f"{path}.{key}")
    elif isinstance(mine, list | tuple):
        assert len(mine) == len(theirs), path
        for index, pair in enumerate(zip(mine, theirs, strict=True)):
            assert_same(*pair, f"{path}.{index}")
    elif isinstance(mine, torch.Tensor):
        assert torch.equal(mine, theirs), path
    else:
        assert mine == theirs, path


def test_images_are_checked_before_anything_is_trained_unless_told_not_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(self: SyntheticStreets, progress: CheckProgress | None = None) -> None:
        raise DatasetError("labels of 7 are damaged")

    monkeypatch.setattr(SyntheticStreets, "check", damaged)
    with pytest.raises(DatasetError, match="labels of 7"):
        search(small(), small_table(), tmp_path / "run")
    assert search(small(check_data=False, search__epochs=0), small_table(), tmp_path / "run").finished


def test_every_epoch_leaves_a_line(finished: tuple[Path, SearchResult]) -> None:
    folder, result = finished
    lines = read_journal(folder, SearchEpoch)
    assert [(line.phase, line.epoch, line.steps) for line in lines] == [("pretrain", 0, 2), ("search", 0, 2), ("search", 1, 2)]
    assert set(lines[0].losses) == {"weights_student", "weights_teacher"}
    assert set(lines[1].losses) == {
        *("weights_student", "weights_teacher", "architecture_student", "architecture_teacher", "latency"),
    }
    assert lines[0].latency_share is None
    assert lines[1].latency_share is not None
    assert 0 < lines[1].latency_share < 1
    for line in lines:
        assert set(line.mean_iou) == {"student", "teacher"}
        assert set(line.mean_iou["student"]) == {"8,16", "8,32", "16,32"}
        assert set(line.entropy["student"]) == {"alpha", "beta", "gamma"}
        assert set(line.entropy["teacher"]) == {"alpha", "beta"}
        assert 0 < line.entropy["student"]["alpha"] <= torch.tensor(5.0).log().item() + 1e-6
        assert [network.alternative for network in line.decoded["student"]] == ["8,16", "8,32", "16,32"]
        assert line.latency.relaxed_ms > 0
    assert result.finished
    assert result.epochs == 3


def test_the_result_names_networks_that_can_be_built(finished: tuple[Path, SearchResult]) -> None:
    folder, result = finished
    assert SearchResult.parse_json((folder / "result.json").read_bytes()) == result
    for role in ("student", "teacher"):
        architecture = ArchitectureSpec.parse_json((folder / f"{role}.json").read_bytes())
        assert architecture == result.architecture(role)
        network = build_network(SPACE.plan(architecture)).eval()
        assert network(torch.zeros(1, 3, 64, 64)).shape == (1, 19, 64, 64)
    best = max(result.candidates["student"], key=lambda candidate: candidate.objective or 0)
    assert result.chosen["student"] == best.alternative
    most_accurate = max(result.candidates["teacher"], key=lambda candidate: candidate.accuracy or 0)
    assert result.chosen["teacher"] == most_accurate.alternative
    widths = {width for branch in branches_of(result.architecture("teacher")) for width in branch.widths}
    assert widths == {8}


def test_an_estimate_is_the_sum_of_the_networks_entries(finished: tuple[Path, SearchResult]) -> None:
    table = small_table()
    for candidate in finished[1].candidates["student"]:
        operators = SPACE.architecture_operators(candidate.architecture)
        assert candidate.estimate_ms == pytest.approx(sum(map(table.lookup, operators)))


@pytest.mark.parametrize("steps", [1, 2, 3, 5])
def test_a_stopped_search_goes_on_bit_for_bit(tmp_path: Path, finished: tuple[Path, SearchResult], steps: int) -> None:
    """In the middle of an epoch of either phase, and at the end of one."""
    stopped = search(small(), small_table(), tmp_path, watch=StopAfter(steps))
    assert not stopped.finished
    resumed = search(small(), small_table(), tmp_path, resume=True)
    whole_folder, whole = finished
    assert resumed.finished
    assert_same(state(tmp_path), state(whole_folder))
    assert resumed.candidates == whole.candidates
    mine, theirs = (read_journal(folder, SearchEpoch) for folder in (tmp_path, whole_folder))
    times = {"seconds", "latency_share"}
    assert [line.model_dump(exclude=times) for line in mine] == [line.model_dump(exclude=times) for line in theirs]


def test_a_finished_search_resumed_changes_nothing(finished: tuple[Path, SearchResult]) -> None:
    folder, result = finished
    before = state(folder)
    assert search(small(), small_table(), folder, resume=True) == result
    assert_same(state(folder), before)


def test_a_folder_in_use_is_not_overwritten(finished: tuple[Path, SearchResult]) -> None:
    with pytest.raises(CheckpointError, match="already holds a search"):
        search(small(), small_table(), finished[0])


def test_another_configuration_or_table_is_not_resumed(finished: tuple[Path, SearchResult]) -> None:
    with pytest.raises(CheckpointError, match=r"config\.search\.epochs: 3 here, 2 there"):
        search(small(search__epochs=3), small_table(), finished[0], resume=True)
    entries = small_table().table.entries
    slower = (entries[0].model_copy(update={"value_ms": 9.0}), *entries[1:])
    other = LookupTable(Table(info=small_table().info, entries=slower))
    with pytest.raises(CheckpointError, match="etag"):
        search(small(), other, finished[0], resume=True)


def test_pretrained_weights_are_taken(tmp_path: Path, finished: tuple[Path, SearchResult]) -> None:
    """Another search from the same weights is the same search: pre-training decides nothing but weights."""
    folder = tmp_path / "other"
    search(small(), small_table(), folder, pretrained=finished[0])
    assert [line.phase for line in read_journal(folder, SearchEpoch)] == ["search", "search"]
    assert_same(state(folder)["learner"]["supernet"], state(finished[0])["learner"]["supernet"])


def test_where_weights_came_from_is_known_and_kept(tmp_path: Path, finished: tuple[Path, SearchResult]) -> None:
    """Even where a search is killed before its first step: it never pre-trains in silence instead, nor takes others."""
    folder = tmp_path / "other"
    killed = CoSearch(small(), small_table(), folder, Processes(), SearchObserver())
    killed.prepare(resume=False, pretrained=finished[0])
    resumed = search(small(), small_table(), folder, resume=True)
    assert [line.phase for line in read_journal(folder, SearchEpoch)] == ["search", "search"]
    assert resumed.pretrained is not None
    assert finished[1].pretrained is None
    another = tmp_path / "another"
    search(small(seed=6, search__epochs=0), small_table(), another)
    with pytest.raises(CheckpointError, match="started from pre-trained weights"):
        search(small(), small_table(), folder, resume=True, pretrained=another)


def test_pretrained_weights_of_another_space_are_refused(tmp_path: Path, finished: tuple[Path, SearchResult]) -> None:
    wider = SPACE.spec.model_copy(update={"parameters": {**SPACE.spec.parameters, "base_channels": 6}})
    with pytest.raises(CheckpointError, match="is not that of"):
        search(small(), small_table(wider), tmp_path / "other", pretrained=finished[0])
    with pytest.raises(RunFolderError, match=r"nowhere holds no run: there is no run\.json"):
        search(small(), small_table(), tmp_path / "other", pretrained=tmp_path / "nowhere")
    begin_run(tmp_path / "empty", "search")
    with pytest.raises(CheckpointError, match=rf"{PRETRAINED}\.pt: no such checkpoint"):
        search(small(), small_table(), tmp_path / "other", pretrained=tmp_path / "empty")


def test_a_folder_says_that_it_holds_a_search_and_no_other_run_takes_one(
    tmp_path: Path, finished: tuple[Path, SearchResult]
) -> None:
    assert read_manifest(finished[0]).kind == "search"
    begin_run(tmp_path / "other", "training")
    with pytest.raises(RunFolderError, match="holds a run of kind training, not search"):
        search(small(), small_table(), tmp_path / "other", resume=True)


@pytest.mark.parametrize("broken", ["weights", "alpha"])
def test_a_loss_that_is_no_number_ends_the_search_and_keeps_the_last_checkpoint(tmp_path: Path, broken: str) -> None:
    config = small()
    search(config, small_table(), tmp_path, watch=StopAfter(2))
    before = state(tmp_path)["learner"]

    class Poison(SearchObserver):
        def step(self, phase: Phase, done: int, total: int, losses: Mapping[str, float]) -> None:
            with torch.no_grad():
                if broken == "weights":
                    next(run.learner.supernet.parameters()).fill_(torch.nan)
                else:
                    run.learner.networks["student"].logits.alpha[0] = torch.nan

    run = CoSearch(config, small_table(), tmp_path, Processes(), Poison())
    run.prepare(resume=True, pretrained=None)
    with pytest.raises(DivergenceError, match=r"search epoch 0, step 1: .*(weights_teacher|weights_student).* is nan"):
        run.run()
    after = state(tmp_path)["learner"]
    assert_same(after["supernet"], before["supernet"])
    assert all(bool(torch.isfinite(tensor).all()) for tensor in after["supernet"].values())


def test_an_enormous_step_names_its_gradient_or_loss(tmp_path: Path) -> None:
    config = small(pretrain__optimizer={"lr": 1e30, "clip_norm": 1e30})
    with pytest.raises(DivergenceError, match=r"pretrain epoch 0, step \d: the loss '(gradient of )?weights_"):
        search(config, small_table(), tmp_path)


class TestWhatDoesNotFit:
    def test_a_table_of_another_space(self, tmp_path: Path) -> None:
        wanted = SpaceSpec(name="fasterseg", input_size=(64, 128), parameters=dict(SPACE.spec.parameters))
        with pytest.raises(TableMismatchError, match="input_size"):
            search(small(space=wanted.model_dump()), small_table(), tmp_path)

    def test_a_table_with_other_widths(self, tmp_path: Path) -> None:
        wanted = SPACE.spec.model_dump() | {"parameters": {"layers": 3, "base_channels": 3, "widths": (4, 12)}}
        with pytest.raises(TableMismatchError, match="widths"):
            search(small(space=wanted), small_table(), tmp_path)

    def test_a_table_that_lacks_an_operator(self, tmp_path: Path) -> None:
        whole = small_table().table
        holed = LookupTable(Table(info=whole.info, entries=whole.entries[:-1]))
        with pytest.raises(MissingEntryError, match="1 operators have no value") as caught:
            search(small(), holed, tmp_path)
        assert "profiler-service profile" in caught.value.hint

    def test_a_data_set_of_other_classes(self, tmp_path: Path) -> None:
        other = SPACE.spec.model_copy(update={"classes": 11})
        with pytest.raises(InvalidSpecError, match="19 classes, the table's search space 11"):
            search(small(), small_table(other), tmp_path)

    @pytest.mark.parametrize("field", ["pretrain__crop", "search__crop"])
    def test_a_crop_that_does_not_divide(self, tmp_path: Path, field: str) -> None:
        with pytest.raises(ShapeError, match=r"crop: 64×84 is not divisible by 8"):
            search(small(**{field: (64, 84)}), small_table(), tmp_path)

    def test_too_few_images(self, tmp_path: Path) -> None:
        with pytest.raises(DatasetError, match="4 images do not fill a batch of 5"):
            search(small(pretrain__batch_size=5), small_table(), tmp_path)

    def test_a_folder_without_the_data_set(self, tmp_path: Path) -> None:
        with pytest.raises(DatasetError, match="no such folder"):
            search(small(data={"name": "cityscapes", "root": tmp_path / "nowhere"}), small_table(), tmp_path / "run")
        assert not (tmp_path / "run").exists()


def test_modes_without_latency_measure_none(tmp_path: Path) -> None:
    search(small(latency__mode="none", pretrain__epochs=0, search__epochs=1), small_table(), tmp_path)
    (line,) = read_journal(tmp_path, SearchEpoch)
    assert "latency" not in line.losses
    assert line.latency_share is None
    assert line.latency.weighted_ms > 0


def test_losses_at_the_resolution_of_the_scores(tmp_path: Path) -> None:
    """They differ from those at full resolution; the mIoU is that of whole images all the same."""
    lines = {}
    for stride in (1, 8):
        config = small(label_stride=stride, pretrain__epochs=0, search__epochs=1)
        search(config, small_table(), tmp_path / str(stride))
        (lines[stride],) = read_journal(tmp_path / str(stride), SearchEpoch)
    assert lines[8].losses["weights_student"] != lines[1].losses["weights_student"]
    assert lines[8].losses["weights_student"] == pytest.approx(lines[1].losses["weights_student"], rel=0.2)
    assert lines[8].mean_iou.keys() == lines[1].mean_iou.keys()


def test_a_strong_latency_loss_makes_the_supernet_faster(tmp_path: Path) -> None:
    """With mode `naive` every granularity is pressed at once; in `none` nothing is."""
    ends = {}
    for mode in ("naive", "none"):
        config = small(
            latency={"mode": mode, "factor": 100.0},
            pretrain__epochs=0,
            search={"epochs": 4, "batch_size": 2, "crop": (64, 64), "architecture": {"lr": 0.3}},
        )
        search(config, small_table(), tmp_path / mode)
        lines = read_journal(tmp_path / mode, SearchEpoch)
        ends[mode] = lines[-1].latency.relaxed_ms / lines[0].latency.relaxed_ms
    assert ends["naive"] < 0.95
    assert ends["naive"] < ends["none"]


def test_solved_weights_are_the_tables() -> None:
    run = prepared(small(latency__weights="solved"))
    assert sum(run.latency.weights) == pytest.approx(1.0)
    assert run.latency.weights != prepared().latency.weights


def test_the_journal_is_plain_json(finished: tuple[Path, SearchResult]) -> None:
    for line in (finished[0] / "epochs.jsonl").read_text().splitlines():
        assert json.loads(line)["phase"] in ("pretrain", "search")


def test_a_space_without_branches_or_downsampling_is_searched_too(tmp_path: Path) -> None:
    """The search knows no space by name."""
    toy = ToySpace.from_spec(SpaceSpec(name="toy_dag", input_size=(64, 128), classes=19)).spec
    config = small(pretrain__epochs=0, search__epochs=1, data__image_size=(64, 128), search__crop=(64, 128))
    result = search(config, small_table(toy), tmp_path)
    assert result.finished
    assert result.architecture(next(iter(result.chosen))).space == "toy_dag"
