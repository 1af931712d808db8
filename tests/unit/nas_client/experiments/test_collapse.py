"""The collapse experiment: which searches it runs, and what it makes of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from models.spec.architectures import SpaceSpec
from models.spec.errors import ExitCode, InvalidSpecError
from models.spec.table_files import TableFormat, write_table
from models.spec.tables import Table
from nas_client.errors import ExperimentError
from nas_client.experiments.collapse import (
    PUBLISHED_LATENCY_SHARE,
    CollapseResult,
    collapse,
    preset_config,
    untrained_ms,
)
from nas_client.experiments.collapse_artifacts import collapse_rows
from nas_client.experiments.runs import pretraining_of
from nas_client.table import LookupTable
from tests.support.client_command import Command
from tests.support.fake_service import make_table
from tests.support.run_samples import SPACE, search_epoch, write_lines

TINY = ("pretrain.epochs=1", "search.epochs=2", "data.train_images=4", "data.val_images=2", "pretrain.batch_size=2")
TINY = (*TINY, "search.batch_size=2", "evaluation.statistics_batches=1", "pretrain.random_widths=0")


@pytest.fixture(scope="module")
def table() -> LookupTable:
    return LookupTable(make_table(SPACE.spec))


def write_runs(folder: Path, seeds: int, modes: tuple[str, ...] = ("naive", "decoupled", "none")) -> None:
    """Finished searches: the naive ones are faster and worse after each epoch, and more so for later seeds."""
    for seed in range(seeds):
        for name in ("pretrain", *modes):
            run = folder / f"seed{seed}" / name
            steps = [1] if name == "pretrain" else [2, 3]
            epochs = [search_epoch(step + seed if name == "naive" else step) for step in steps]
            write_lines(run, list(epochs))
            (run / "result.json").write_text('{"finished": true}')


def test_points_and_summaries_are_those_of_the_searches(tmp_path: Path, table: LookupTable) -> None:
    write_runs(tmp_path, 3)
    result = collapse(table, tmp_path, seeds=3)
    assert result is not None
    assert len(result.points) == 3 * 3 * 3
    naive = next(summary for summary in result.summaries if summary.mode == "naive")
    assert naive.relaxed_ms.values == (4, 3, 2)
    assert naive.relaxed_ms.mean == 3
    assert naive.relaxed_ms.deviation == 1
    before = [point for point in result.points if point.epoch == 0 and point.seed == 1]
    assert [point.relaxed_ms for point in before] == [6, 6, 6]  # all modes begin with the same supernet
    last = next(point for point in result.points if (point.seed, point.mode, point.epoch) == (2, "naive", 2))
    assert last.mean_iou == pytest.approx(0.1 + 0.05 * 5)
    assert (last.skip_share, last.narrowest_share, last.estimate_ms) == (0.25, 0.5, 3.5)


def test_the_command_writes_json_table_and_figures(nas_client: Command, tmp_path: Path, table: LookupTable) -> None:
    write_table(table.table, tmp_path / "t.arrow", TableFormat.ARROW)
    folder = tmp_path / "experiment"
    write_runs(folder, 2, ("naive", "decoupled"))
    arguments = ["experiment", "collapse", "--table", tmp_path / "t.arrow", "-o", folder, "--seeds", 2]
    ended = nas_client(*arguments, "--mode", "decoupled", "--mode", "naive", "--json")
    assert ended.code == ExitCode.DONE
    result = CollapseResult.parse(ended.document)
    assert result == CollapseResult.parse(json.loads((folder / "collapse.json").read_text()))
    assert [summary.mode for summary in result.summaries] == ["naive", "decoupled"]
    assert (folder / "collapse.md").read_text().count("\n") == len(collapse_rows(result)) + 1
    assert all((folder / f"{name}.{suffix}").exists() for name in ("trade", "epochs") for suffix in ("png", "svg"))


def test_latency_weighs_as_much_as_in_the_paper_whatever_the_table(table: LookupTable) -> None:
    config = preset_config("cpu", table)
    assert config.latency.factor * untrained_ms(table) == pytest.approx(PUBLISHED_LATENCY_SHARE, rel=1e-3)
    assert preset_config("cpu", table, ["latency.factor=0.5"]).latency.factor == 0.5
    assert preset_config("gpu", table).data.image_size == (256, 512)


def test_a_second_phase_is_as_long_as_the_first_and_no_part_of_the_pretraining() -> None:
    """RSPNet's 40 epochs of it are for full size."""
    rspnet = LookupTable(make_table(SpaceSpec(name="rspnet", input_size=(64, 64))))
    config = preset_config("cpu", rspnet)
    assert config.second.searches == ("beta",)
    for field in ("epochs", "batch_size", "crop"):
        assert getattr(config.second, field) == getattr(config.search, field)
    assert config.second.optimizer.lr == 0.05
    assert preset_config("cpu", rspnet, ["second.epochs=3"]).second.epochs == 3
    alone = pretraining_of(config)
    assert (alone.pretrain.epochs, alone.search.epochs, alone.second.epochs) == (10, 0, 0)


def test_no_second_phase_where_the_space_has_none(table: LookupTable) -> None:
    assert preset_config("cpu", table).second.epochs == 0


def test_the_end_of_a_search_without_a_miou_is_named(tmp_path: Path, table: LookupTable) -> None:
    """No image of the validation split has a label."""
    write_runs(tmp_path, 1)
    run = tmp_path / "seed0" / "none"
    epochs = [search_epoch(step) for step in (2, 3)]
    write_lines(run, [epoch.model_copy(update={"mean_iou": {"student": {"8": None}}}) for epoch in epochs])
    with pytest.raises(ExperimentError, match="no labels"):
        collapse(table, tmp_path, seeds=1)


def test_an_unknown_override_is_refused(tmp_path: Path, table: LookupTable) -> None:
    with pytest.raises(InvalidSpecError, match=r"search\.epoch"):
        collapse(table, tmp_path, overrides=["search.epoch=1"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("override", ["seed=3", "latency.mode=none", "pretrain.epochs=0", "search.epochs=0"])
def test_what_the_experiment_decides_itself_is_refused(tmp_path: Path, table: LookupTable, override: str) -> None:
    with pytest.raises(InvalidSpecError, match=override.partition("=")[0].replace(".", r"\.")):
        collapse(table, tmp_path, overrides=[override])
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_only_gone_on_with_where_asked(tmp_path: Path, table: LookupTable) -> None:
    write_runs(tmp_path, 1)
    first = collapse(table, tmp_path, seeds=1)
    with pytest.raises(ExperimentError, match="holds an experiment already"):
        collapse(table, tmp_path, seeds=1)
    assert collapse(table, tmp_path, seeds=1, resume=True) == first
    with pytest.raises(ExperimentError, match=r"search\.epochs: 3 here, 10 there"):
        collapse(table, tmp_path, seeds=1, resume=True, overrides=["search.epochs=3"])
    entries = [entry.model_copy(update={"value_ms": (1 + 1e-9) * (entry.value_ms or 0)}) for entry in table.table.entries]
    other = LookupTable(Table(info=table.info, entries=tuple(entries)))
    with pytest.raises(ExperimentError, match="other contents of a table"):
        collapse(other, tmp_path, seeds=1, resume=True)


def test_an_unknown_mode_is_a_usage_error(nas_client: Command, tmp_path: Path) -> None:
    ended = nas_client("experiment", "collapse", "--table", "t", "-o", tmp_path, "--mode", "fast")
    assert ended.code == ExitCode.USAGE
    assert "fast" in ended.err


@pytest.mark.slow
def test_real_searches_from_one_pretraining_and_resumed(tmp_path: Path, table: LookupTable) -> None:
    ended: list[tuple[str, ...]] = []
    options = {"seeds": 1, "modes": ("naive", "none"), "overrides": TINY, "at_once": 2}
    result = collapse(table, tmp_path, **options, progress=lambda _done, _total, running: ended.append(tuple(running)))
    assert result is not None
    assert ended[0] == ("seed 0, pretrain",)  # nothing beside it: the others need it
    starts = [point for point in result.points if point.epoch == 0]
    assert len(starts) == 2
    assert starts[0].relaxed_ms == starts[1].relaxed_ms
    ends = {point.mode: point for point in result.points if point.epoch == 2}
    assert ends["naive"].relaxed_ms < ends["none"].relaxed_ms
    (tmp_path / "seed0" / "naive" / "result.json").unlink()
    again: list[tuple[str, ...]] = []
    repeated = collapse(table, tmp_path, **options, resume=True, progress=lambda _d, _t, running: again.append(tuple(running)))
    assert again == [("seed 0, naive",), ()]
    assert repeated == result
