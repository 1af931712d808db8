"""`diff` through the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.spec.measurements import Measurement, Status
from models.spec.operators import OperatorSpec
from models.spec.table_files import TableFormat, read_table, write_table
from models.spec.tables import Table
from models.spec.targets import TargetSpec
from tests.unit.profiler_service.cli.conftest import Command
from tests.unit.profiler_service.cli.test_exchange import TABLE


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """The table, and one of another target with an entry that takes 10 % longer."""
    (entry,) = TABLE.entries
    assert entry.value_ms is not None
    other = Table(
        info=TABLE.info.model_copy(update={"target": TargetSpec(device="Other CPU", backend="paper", threads=4)}),
        entries=(entry.model_copy(update={"value_ms": entry.value_ms * 1.1}),),
    )
    paths = tmp_path / "a.csv", tmp_path / "b.parquet"
    for path, table, file_format in zip(paths, (TABLE, other), (TableFormat.CSV, TableFormat.PARQUET), strict=True):
        write_table(table, path, file_format)
    return paths


def test_another_target_is_named_before_any_number(command: Command, files: tuple[Path, Path]) -> None:
    text = command("diff", *files).out
    assert "threads: 1 here, 4 there" in text
    assert text.index("threads") < text.index("+10.0%")


def test_the_document(command: Command, files: tuple[Path, Path]) -> None:
    document = command("diff", *files, "--json").document
    assert document["same_table"] is False
    assert document["common"] == 1
    assert document["median_relative"] == pytest.approx(0.1)
    assert document["worst"][0]["label"] == TABLE.entries[0].workload.label()


def test_a_file_against_a_table_of_the_database(command: Command, files: tuple[Path, Path]) -> None:
    table_id = command("import", files[0], "--json").document["table_id"]
    assert command("diff", files[0], table_id, "--json").document["same_table"] is True


def test_neither_a_file_nor_a_table(command: Command, files: tuple[Path, Path]) -> None:
    command("import", files[0])
    ended = command("diff", files[0], "0123456789abcdef")
    assert ended.code == 3
    assert "0123456789abcdef" in ended.err


def test_tables_without_standard_errors_say_that_significance_cannot_be_told(
    command: Command, files: tuple[Path, Path]
) -> None:
    ended = command("diff", *files)
    assert ended.code == 0
    assert "significance cannot be tested" in ended.out
    assert "+10.0%" in ended.out
    assert "not tested" in command("diff", *files, "--all").out


def test_a_gate_that_cannot_be_decided_does_not_pass(command: Command, files: tuple[Path, Path]) -> None:
    ended = command("diff", *files, "--fail-on", "slower")
    assert ended.code == 3
    assert "cannot be decided" in ended.err


@pytest.fixture
def measured(tmp_path: Path) -> tuple[Path, Path]:
    """One truth measured twice but for two operators: one became 50 % slower, one 4 % faster."""
    paths = tmp_path / "before.json", tmp_path / "after.json"
    for path, changed in zip(paths, ({}, {8: 1.5, 16: 0.96}), strict=True):
        entries = tuple(
            Measurement(
                workload=OperatorSpec(kind="conv3x3", in_channels=8, out_channels=channels, height=8, width=8),
                value_ms=changed.get(channels, 1.0),
                stderr_ms=0.002,
                rounds=8,
            )
            for channels in (8, 16, 24, 32)
        )
        write_table(Table(info=TABLE.info, entries=entries), path, TableFormat.JSON)
    return paths


def test_only_what_is_significant_is_listed_unless_all_is_asked_for(command: Command, measured: tuple[Path, Path]) -> None:
    text = command("diff", *measured).out
    assert "2 of 4 entries, 1 slower, 1 faster" in text
    assert text.index("+50.0%") < text.index("-4.0%")
    assert "8→24" not in text
    assert "8→24" in command("diff", *measured, "--all").out


def test_the_document_lists_what_is_significant(command: Command, measured: tuple[Path, Path]) -> None:
    document = command("diff", *measured, "--json", "--fdr", "1%").document
    assert (document["fdr"], document["tested"], document["slower"], document["faster"]) == (0.01, 4, 1, 1)
    assert [round(entry["relative"], 2) for entry in document["significant"]] == [0.5, -0.04]
    assert document["significant"][0]["low"] < 0.5 < document["significant"][0]["high"]
    assert "differences" not in document
    assert len(command("diff", *measured, "--json", "--all").document["differences"]) == 4


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ([], 0),
        (["--fail-on", "significant"], 7),
        (["--fail-on", "slower"], 7),
        (["--fail-on", "slower", "--threshold", "60%"], 0),
        (["--fail-on", "significant", "--threshold", "0.05"], 7),
        (["--threshold", "5%"], 2),
        (["--fail-on", "slower", "--threshold", "a lot"], 3),
        (["--fdr", "2"], 3),
    ],
)
def test_a_gate_ends_with_its_own_exit_code(
    command: Command, measured: tuple[Path, Path], options: list[str], code: int
) -> None:
    assert command("diff", *measured, *options).code == code


def test_getting_faster_is_no_regression(command: Command, measured: tuple[Path, Path]) -> None:
    before, after = measured
    ended = command("diff", after, before, "--fail-on", "slower", "--threshold", "5%")
    assert ended.code == 0
    ended = command("diff", after, before, "--fail-on", "slower", "--json")
    assert (ended.code, ended.document["gate"]) == (7, {"fail_on": "slower", "threshold": 0.0, "found": 1})


def test_an_operator_that_fails_now_does_not_pass_a_gate(command: Command, measured: tuple[Path, Path], tmp_path: Path) -> None:
    before, _ = measured
    table = read_table(before)
    first, *others = table.entries
    broken = Measurement(workload=first.workload, status=Status.BUILD_ERROR, message="refused")
    after = tmp_path / "broken.json"
    write_table(Table(info=table.info, entries=(broken, *others)), after, TableFormat.JSON)
    ended = command("diff", before, after, "--fail-on", "slower")
    assert ended.code == 7
    assert f"failed after, and measured before: 1, the first {first.workload.label()}" in ended.out
    assert command("diff", after, before, "--fail-on", "slower").code == 0
