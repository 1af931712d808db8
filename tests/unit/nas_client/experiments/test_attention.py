"""Attention in the search, in training, in both and in neither: what is run, and what is made of it."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from models.spaces.registry import create_space
from models.spec.architectures import ArchitectureSpec, SpaceSpec
from models.spec.errors import ExitCode, InvalidSpecError, MissingEntryError
from models.spec.table_files import TableFormat, read_table, write_table
from models.spec.tables import Table
from nas_client.experiments import execution
from nas_client.experiments.attention import PLACEMENTS, AttentionResult, Placement, attention, placed_table, preset_config
from nas_client.experiments.attention_artifacts import attention_rows, attention_sentence, plot_attention
from nas_client.experiments.execution import Command as Run
from nas_client.report.page import report
from nas_client.runs.config import read_config
from nas_client.search.config import SearchConfig
from nas_client.table import LookupTable
from nas_client.train.evaluation import MeasuredSpeed
from tests.support.client_command import Command
from tests.support.fake_service import make_table
from tests.support.run_samples import SPACE as FASTERSEG
from tests.support.run_samples import evaluation, write_search, write_training

SPACE = SpaceSpec(
    name="mfasterseg", input_size=(64, 64), parameters={"layers": 3, "base_channels": 3, "widths": (4, 8), "rounds": 1}
)
IOUS = {(False, False): (0.2, 0.3), (False, True): (0.24, 0.36), (True, False): (0.3, 0.3), (True, True): (0.4, 0.2)}
"""Of the students of two seeds."""


@pytest.fixture(scope="module")
def table() -> LookupTable:
    return LookupTable(make_table(create_space(SPACE).spec))


def found(table: LookupTable, seed: int, placement: Placement) -> ArchitectureSpec:
    """What a search found, as it is trained in that cell: the same networks in both cells of a search."""
    space = create_space(placed_table(table, placement).info.space)
    return space.sample(np.random.default_rng(100 + 10 * seed + placement[0]))


def write_runs(folder: Path, table: LookupTable, seeds: int) -> None:
    """All runs of the experiment; a teacher is ten points above its student."""
    for seed in range(seeds):
        for searched in (False, True):
            search = folder / f"seed{seed}" / f"search_{'attention' if searched else 'plain'}"
            write_search(search)
            for role in ("student", "teacher"):
                network = found(table, seed, (searched, False))
                (search / f"{role}.json").write_text(network.model_dump_json())
        for placement in PLACEMENTS:
            cell = folder / f"seed{seed}" / "_".join("attention" if there else "plain" for there in placement)
            iou = IOUS[placement][seed]
            write_training(cell / "student", found(table, seed, placement), mean_iou=iou)
            write_training(cell / "teacher", found(table, seed, placement), mean_iou=iou + 0.1)


def test_the_four_cells_and_what_each_placement_gains(tmp_path: Path, table: LookupTable) -> None:
    write_runs(tmp_path, table, 2)
    result = attention(table, tmp_path, preset_config("cpu", table), seeds=2)
    assert result is not None
    assert {(c.searched, c.trained): c.mean_iou.values for c in result.cells} == IOUS
    assert result.searched_gain.values == pytest.approx((0.35 - 0.22, 0.25 - 0.33))
    assert result.trained_gain.values == pytest.approx((0.32 - 0.25, 0.28 - 0.3))
    plain, _, searched, both = result.cells
    assert plain.teacher_mean_iou is not None
    assert plain.teacher_mean_iou.values == pytest.approx((0.3, 0.4))
    assert both.estimate_ms.mean > searched.estimate_ms.mean
    assert both.students[0].parameters > searched.students[0].parameters


def test_students_are_measured_after_the_trainings(tmp_path: Path, table: LookupTable) -> None:
    """A cell has latencies where all of its students do."""
    write_runs(tmp_path, table, 2)

    def measure(network: ArchitectureSpec) -> MeasuredSpeed | str:
        lacking = found(table, 1, (True, True))
        return "failed: no memory" if network == lacking else evaluation(network, latency_ms=3.0).speed or ""

    result = attention(table, tmp_path, preset_config("cpu", table), seeds=2, measure=measure)
    assert result is not None
    assert [cell.measured_ms and cell.measured_ms.values for cell in result.cells] == [(3.0, 3.0)] * 3 + [None]
    assert [len(cell.speeds) for cell in result.cells] == [2, 2, 2, 0]
    assert result.cells[-1].speed_missing == "failed: no memory"
    assert attention_sentence(result).endswith("Not measured: failed: no memory.")
    assert [row[6] for row in attention_rows(result)] == ["measured (ms)", *["3.000 ± 0.000"] * 3, "–"]
    assert plot_attention(result).axes[1].get_xlabel() == "estimated latency (ms)"
    write_runs(tmp_path / "all", table, 1)
    measured = partial(evaluation, latency_ms=3.0)
    result = attention(table, tmp_path / "all", result.config, seeds=1, measure=lambda network: measured(network).speed or "")
    assert result is not None
    assert plot_attention(result).axes[1].get_xlabel() == "measured latency (ms)"


def test_both_searches_of_a_seed_have_all_but_the_space_in_common(tmp_path: Path, table: LookupTable) -> None:
    config = preset_config("cpu", table, ["search.search.epochs=3", "training.epochs=5"])
    assert config.training.epochs == 5
    asked: list[Run] = []

    def stopped(commands: list[Run], **_: object) -> bool:
        asked.extend(commands)
        return False

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(execution, "run_commands", stopped)
        assert attention(table, tmp_path, config, seeds=2) is None
    assert [command.name for command in asked] == [
        f"seed {seed}, search_{what}" for seed in (0, 1) for what in ("plain", "attention")
    ]
    configs = [read_config(SearchConfig, Path(command.arguments[4])) for command in asked]
    assert configs[0] == configs[1] == config.search
    assert configs[2].seed == configs[3].seed == 1
    tables = [read_table(Path(command.arguments[2])) for command in asked[:2]]
    assert [t.info.space.parameters["branch_attention"] for t in tables] == [0, 1]
    assert [t.info.space.parameters["fused_attention"] for t in tables] == [0, 0]
    attending = [sum(e.workload.kind == "adaptive_attention" for e in t.entries) for t in tables]
    assert attending == [0, 3]


def test_the_command_and_its_part_of_a_report(nas_client: Command, tmp_path: Path, table: LookupTable) -> None:
    write_table(table.table, tmp_path / "t.arrow", TableFormat.ARROW)
    folder = tmp_path / "experiment"
    write_runs(folder, table, 1)
    ended = nas_client("experiment", "attention", "--table", tmp_path / "t.arrow", "-o", folder, "--seeds", 1, "--json")
    assert ended.code == ExitCode.DONE, ended.err
    assert AttentionResult.parse(ended.document) == AttentionResult.parse(json.loads((folder / "attention.json").read_text()))
    assert "| no | no | 20.00 | 1.000 | 30.00 |" in (folder / "attention.md").read_text()
    assert all((folder / f"attention.{suffix}").exists() for suffix in ("png", "svg"))
    again = nas_client("experiment", "attention", "--table", tmp_path / "t.arrow", "-o", folder, "--seeds", 1, "--resume")
    assert "attention in the search changes the students' mIoU by +13.00 points, attention in training by +7.00." in again.out
    page = report(folder)
    assert "Experiment: attention" in page
    assert "+13.00 points" in page


def test_bad_input_is_refused_before_anything_runs(tmp_path: Path, table: LookupTable) -> None:
    with pytest.raises(InvalidSpecError, match="parameter branch_attention of its search space is unknown"):
        preset_config("cpu", LookupTable(make_table(FASTERSEG.spec)))
    with pytest.raises(InvalidSpecError, match="parameter fused_attention of its search space is 0"):
        preset_config("cpu", placed_table(table, (True, False)))
    with pytest.raises(InvalidSpecError, match=r"'training\.seed=3': the experiment sets training\.seed itself"):
        preset_config("cpu", table, ["training.seed=3"])
    kept = tuple(e for e in table.table.entries if e.workload.kind != "adaptive_attention")
    lacking, config = LookupTable(Table(info=table.info, entries=kept)), preset_config("cpu", table)
    with pytest.raises(MissingEntryError, match=r"5 operators have no value .* adaptive_attention 16→16") as refused:
        attention(lacking, tmp_path / "never", config)
    assert "profiler-service profile --space mfasterseg" in refused.value.hint
    assert not (tmp_path / "never").exists()


@pytest.mark.parametrize("name", ["branch_attention", "fused_attention", "rounds", "reduction", "shared"])
def test_each_parameter_of_the_space_has_bounds(name: str) -> None:
    with pytest.raises(InvalidSpecError, match=rf"{name}: .*65"):
        create_space(SPACE.model_copy(update={"parameters": {name: 65}}))
