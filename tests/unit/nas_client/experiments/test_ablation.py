"""The ablation of FasterSeg's Table 3: what is searched and trained for each row, and what is made of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from models.spaces.registry import create_space
from models.spec.architectures import ArchitectureSpec, SpaceSpec
from models.spec.errors import ExitCode, InvalidSpecError, MissingEntryError
from models.spec.table_files import TableFormat, write_table
from models.spec.tables import Table
from nas_client.errors import ExperimentError
from nas_client.experiments.ablation import AblationResult, preset_config
from nas_client.experiments.ablation_runs import reduced_table, study_of
from nas_client.experiments.execution import Command as Run
from nas_client.report.page import report
from nas_client.table import LookupTable
from nas_client.train.folder import read_result
from tests.support.client_command import Command
from tests.support.fake_service import make_table
from tests.support.fasterseg_networks import branches_of
from tests.support.searches import SPACE, small_table
from tests.support.toy_space import ToySpace


@pytest.fixture(scope="module")
def table() -> LookupTable:
    return small_table()


@pytest.mark.slow
def test_every_row_is_searched_and_trained_as_it_says(
    nas_client: Command, tmp_path: Path, table: LookupTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commands themselves, but in this process."""
    ran: list[str] = []

    def in_this_process(commands: Sequence[Run], **_: Any) -> bool:
        for command in commands:
            assert set(command.after) <= set(ran)
            assert nas_client(*command.arguments).code == ExitCode.DONE, command.name
            ran.append(command.name)
        return True

    monkeypatch.setattr("nas_client.experiments.execution.run_commands", in_this_process)
    write_table(table.table, tmp_path / "t.arrow", TableFormat.ARROW)
    folder = tmp_path / "ablation"
    arguments = ["experiment", "ablation", "--table", tmp_path / "t.arrow", "-o", folder, "--preset", "toy", "--seeds", 1]
    ended = nas_client(*arguments, "--json")
    assert ended.code == ExitCode.DONE, ended.err
    result = AblationResult.parse(ended.document)
    assert result == AblationResult.parse(json.loads((folder / "ablation.json").read_text()))
    assert [name.removeprefix("seed 0, ") for name in ran] == [
        *("search0", "search1", "search2", "teacher", "row0", "row1", "row2", "row3", "row4")
    ]
    assert all((folder / f"ablation.{suffix}").exists() for suffix in ("md", "png", "svg"))

    networks = [_trained(folder / "seed0" / f"row{index}") for index in range(5)]
    assert [len(branches_of(network)) for network in networks] == [1, 2, 2, 2, 2]
    assert _widths(networks[0]) | _widths(networks[1]) == {8}
    assert networks[2] == networks[4]
    teacher, pruned = _trained(folder / "seed0" / "teacher"), networks[3]
    assert _widths(teacher) == {8}
    assert _widths(pruned) == {4}
    assert [(b.operators, b.scales) for b in branches_of(pruned)] == [(b.operators, b.scales) for b in branches_of(teacher)]
    terms = [_distillation(folder / "seed0" / f"row{index}") for index in range(5)]
    assert [term > 0 for term in terms] == [False, False, False, True, True]
    assert result.rows[0].published_fps == 177.8
    assert result.rows[4].mean_iou.values == (read_result(folder / "seed0" / "row4").final.mean_iou,)  # type: ignore[union-attr]

    ran.clear()
    assert nas_client(*arguments, "--resume").code == ExitCode.DONE
    assert not ran
    assert "Experiment: ablation" in report(folder)


def _trained(run: Path) -> ArchitectureSpec:
    return ArchitectureSpec.parse_json((run / "architecture.json").read_bytes())


def _widths(network: ArchitectureSpec) -> set[int]:
    return {width for branch in branches_of(network) for width in branch.widths}


def _distillation(run: Path) -> float:
    return float(json.loads((run / "epochs.jsonl").read_text().splitlines()[-1])["distillation"])


def test_a_reduced_space_is_searched_with_a_part_of_the_table(tmp_path: Path, table: LookupTable) -> None:
    study = study_of(table, tmp_path)
    one, two, whole = study.tables.values()
    assert whole.table.entries == table.table.entries
    assert whole.info.id() == table.info.id()
    assert len({one.info.id(), two.info.id(), whole.info.id()}) == 3
    assert len(one) == len(two) < len(whole)
    assert {o.key() for o in create_space(one.info.space).operators()} == {entry.key() for entry in one.table.entries}
    holed = LookupTable(Table(info=table.info, entries=table.table.entries[1:]))
    with pytest.raises(MissingEntryError, match="is not in"):
        reduced_table(holed, table.info.space)


def test_what_cannot_be_is_refused(tmp_path: Path, table: LookupTable) -> None:
    wide = SPACE.spec.model_copy(update={"parameters": {**SPACE.spec.parameters, "widths": (4, 12)}})
    with pytest.raises(InvalidSpecError, match="widths: 4, 12; rows of the ablation have an expansion ratio of 8"):
        study_of(LookupTable(make_table(wide)), tmp_path)
    toy = ToySpace.from_spec(SpaceSpec(name="toy_dag", input_size=(64, 64), classes=19)).spec
    with pytest.raises(ExperimentError, match="nothing is published of an ablation in search space 'toy_dag'"):
        study_of(small_table(toy), tmp_path)
    with pytest.raises(InvalidSpecError, match=r"the experiment sets search\.seed itself"):
        preset_config("toy", table, ["search.seed=3"])
    assert preset_config("toy", table, ["training.epochs=3"]).training.epochs == 3
