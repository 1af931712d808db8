"""`import-csv`: latencies from a spreadsheet."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.spec.architectures import SpaceSpec
from models.spec.measurements import Flag
from models.spec.table_files import read_table
from tests.support.ended import Command
from tests.support.toy_space import ToySpace

OPERATORS = ToySpace.from_spec(SpaceSpec(name="toy_dag", input_size=(32, 64))).operators()
TARGET = ("--device", "Phone 9", "--runtime", "Lite 2.1", "--space", "toy_dag", "--input-size", "32x64")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """As a German Excel writes it: the first two operators, one of them twice, a stranger, and a column of remarks."""
    path = tmp_path / "phone.csv"
    lines = ["Label;Latency (ms);Remark", f"{OPERATORS[0].label()};0,5;", f"{OPERATORS[1].label()};1,25;"]
    lines += [f"{OPERATORS[0].label()};0,5;again", "mystery;7;"]
    path.write_bytes("\r\n".join(lines).encode("utf-8-sig") + b"\r\n")
    return path


def test_an_imported_csv_is_a_table_that_says_where_it_comes_from(command: Command, file: Path) -> None:
    ended = command("import-csv", file, *TARGET, "--json")
    assert ended.code == 0, ended.err
    document = ended.document
    assert command("export", "--table", document["table_id"], "--format", "json", "-o", "t.json").code == 0
    table = read_table(Path("t.json"))

    assert {entry.workload.label(): entry.value_ms for entry in table.entries} == {
        OPERATORS[0].label(): 0.5,
        OPERATORS[1].label(): 1.25,
    }
    assert {(entry.flags, entry.stderr_ms, entry.samples) for entry in table.entries} == {((Flag.IMPORTED,), None, 0)}
    assert table.info.target.label() == "Phone 9, Lite 2.1"
    assert table.info.target.options["origin"] == "imported"
    provenance = table.info.provenance
    assert provenance["source"] == "phone.csv"
    assert provenance["uncertainty"].startswith("not known")
    assert len(provenance["sha256"]) == 64

    report = document["report"]
    assert [one["row"] for one in report["unmatched"]] == [5]
    assert [(one["row"], one["first_row"]) for one in report["repeats"]] == [(4, 2)]
    assert len(report["absent"]) == len(OPERATORS) - 2
    assert (report["delimiter"], report["decimal"], report["ignored_columns"]) == (";", ",", ["Remark"])


def test_people_see_what_was_left_out(command: Command, file: Path) -> None:
    out = command("import-csv", file, *TARGET).out
    assert "2 entries of toy_dag 32×64 float32, which others measured on Phone 9, Lite 2.1" in out
    assert "uncertainty is not known" in out
    assert "row 4 repeats row 2" in out
    assert "row 5: the space has no operator of label 'mystery'" in out
    assert f"{len(OPERATORS) - 2} of {len(OPERATORS)} operators of the space have no row" in out
    assert "… and " in out
    assert "not read: 'Remark'" in out


def test_a_corrected_file_is_another_table(command: Command, file: Path) -> None:
    """What is in the database already stays on import, so that a corrected value would otherwise be lost."""
    first = command("import-csv", file, *TARGET, "--json").document["table_id"]
    assert command("import-csv", file, *TARGET, "--json").document["table_id"] == first
    file.write_bytes(file.read_bytes().replace(b"1,25", b"1,75"))
    second = command("import-csv", file, *TARGET, "--json").document["table_id"]
    assert second != first
    assert "1.7500" in command("entries", second).out


def test_imported_values_are_neither_published_nor_trusted(command: Command, file: Path) -> None:
    table_id = command("import-csv", file, *TARGET, "--json").document["table_id"]
    assert "was imported" in command("publish", "--table", table_id).err
    (listed,) = command("tables", "--json").document["tables"]
    assert (listed["verdict"]["level"], listed["grid"]) == ("unsettled", None)


@pytest.mark.parametrize("value", ["0", "-1", "NaN", "1,5 ms"])
def test_nothing_is_imported_with_a_wrong_value(command: Command, file: Path, tmp_path: Path, value: str) -> None:
    file.write_bytes(file.read_bytes().replace(b"1,25", value.encode()))
    ended = command("import-csv", file, *TARGET, "--json")
    assert (ended.code, ended.document["error"]["code"]) == (3, "table_file")
    assert "phone.csv, row 3, column 'Latency (ms)'" in ended.err
    assert not (tmp_path / "opclock.sqlite").exists()


def test_without_a_size_the_space_has_its_own(command: Command, file: Path) -> None:
    ended = command("import-csv", file, *TARGET[:-2])
    assert ended.code == 3
    height, width = ToySpace.default_input_size
    assert f"{height}×{width}" in ended.err
    assert "--input-size" in ended.err


def test_names_that_there_are_not(command: Command, file: Path, tmp_path: Path) -> None:
    assert "nowhere.csv" in command("import-csv", "nowhere.csv", *TARGET).err
    assert command("import-csv", file, *TARGET[:4]).code == 2
    ended = command("import-csv", file, *TARGET[:5], "toy_dog")
    assert (ended.code, "Did you mean 'toy_dag'?" in ended.err) == (3, True)
    assert "device" in command("import-csv", file, "--device", " ", *TARGET[2:]).err
    assert not (tmp_path / "opclock.sqlite").exists()
