"""`diff` through the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.spec.table_files import TableFormat, write_table
from models.spec.tables import Table
from models.spec.targets import TargetSpec
from tests.unit.service_cli.conftest import Command
from tests.unit.service_cli.test_exchange import TABLE


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
