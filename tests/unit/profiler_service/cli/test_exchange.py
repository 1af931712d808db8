"""`tables`, `export`, `import` and `import-<space>`."""

from __future__ import annotations

import io
import os
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest

from models.spaces.registry import create_space, space_class, space_names
from models.spec.architectures import SpaceSpec
from models.spec.measurements import Flag, Measurement, ProtocolName
from models.spec.operators import OperatorSpec
from models.spec.table_files import TableFormat, from_bytes, read_table, write_table
from models.spec.tables import Table, TableInfo
from models.spec.targets import TargetSpec
from tests.support.reference import reference_file
from tests.unit.profiler_service.cli.conftest import Command

TABLE = Table(
    info=TableInfo(
        target=TargetSpec(device="Other CPU", backend="paper", threads=1), space=SpaceSpec(name="s", input_size=(64, 64))
    ),
    entries=(
        Measurement(
            workload=OperatorSpec(kind="conv3x3", in_channels=8, out_channels=8, height=8, width=8), value_ms=1 / 3, samples=7
        ),
    ),
)


@pytest.fixture
def table_id(command: Command, tmp_path: Path) -> str:
    """A table in the database."""
    path = tmp_path / "given"
    write_table(TABLE, path, TableFormat.JSON)
    ended = command("import", path, "--json")
    assert ended.code == 0, ended.err
    return str(ended.document["table_id"])


def test_an_imported_table_is_listed(command: Command, table_id: str) -> None:
    (listed,) = command("tables", "--json").document["tables"]
    assert (listed["id"], listed["entries"]) == (table_id, 1)
    assert "Other CPU" in command("tables").out


def test_tables_tell_how_much_of_their_grid_they_cover(command: Command, table_id: str, tmp_path: Path) -> None:
    """The space `s` of the first table is not known here, so that its entries are only counted."""
    name = space_names()[0]
    space = create_space(SpaceSpec(name=name, input_size=space_class(name).default_input_size))
    entries = tuple(Measurement(workload=operator, value_ms=1.0) for operator in space.operators()[:5])
    info = TABLE.info.model_copy(update={"space": space.spec})
    write_table(Table(info=info, entries=entries), tmp_path / "part", TableFormat.JSON)
    command("import", tmp_path / "part")

    grid = len(space.operators())
    listed = {
        table["id"]: (table["entries"], table["grid"], table["partial"])
        for table in command("tables", "--json").document["tables"]
    }
    assert listed == {table_id: (1, None, False), info.id(): (5, grid, True)}
    assert f"5 of {grid}" in command("tables").out


@pytest.mark.parametrize("file_format", list(TableFormat))
def test_a_table_survives_export_and_import(command: Command, table_id: str, tmp_path: Path, file_format: TableFormat) -> None:
    path = tmp_path / "out"
    ended = command("export", "--table", table_id, "--format", file_format.value, "-o", path)
    assert ended.code == 0
    assert read_table(path).entries == TABLE.entries

    again = command("import", path, "--database", tmp_path / "other.sqlite", "--json")
    assert again.document["table_id"] == table_id
    assert command("diff", path, table_id, "--database", tmp_path / "other.sqlite", "--json").document["same_table"]


@pytest.mark.parametrize("file_format", [TableFormat.CSV, TableFormat.JSON])
def test_without_a_file_the_export_goes_to_stdout(command: Command, table_id: str, file_format: TableFormat) -> None:
    out = command("export", "--table", table_id, "--format", file_format.value).out
    assert from_bytes(out.encode(), file_format).entries == TABLE.entries


def test_a_terminal_is_spared_binary_formats(command: Command, table_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    ended = command("export", "--table", table_id, "--format", "parquet")
    assert (ended.code, ended.out) == (3, "")
    assert "-o" in ended.err


def test_with_json_the_export_goes_to_a_file_that_is_named(command: Command, table_id: str) -> None:
    document = command("export", "--table", table_id, "--format", "csv", "--json").document
    assert read_table(Path(document["path"])).entries == TABLE.entries


def test_an_unknown_table(command: Command, table_id: str) -> None:
    ended = command("export", "--table", "0123", "--format", "csv", "-o", "x.csv", "--json")
    assert ended.code == 3
    assert ended.document["error"]["code"] == "not_found"
    assert "'0123'" in ended.err
    assert not Path("x.csv").exists()


def test_a_database_that_is_not_there(command: Command, tmp_path: Path) -> None:
    for arguments in (["tables"], ["export", "--table", "a", "--format", "csv"], ["diff", "a", "b"]):
        ended = command(*arguments)
        assert ended.code == 3
        assert str(tmp_path / "opclock.sqlite") in ended.err
    assert not (tmp_path / "opclock.sqlite").exists()


def test_a_format_that_there_is_not(command: Command, table_id: str) -> None:
    ended = command("export", "--table", table_id, "--format", "xlsx")
    assert ended.code == 2
    assert "xlsx" in ended.err


def test_a_file_that_cannot_be_written(command: Command, table_id: str, tmp_path: Path) -> None:
    ended = command("export", "--table", table_id, "--format", "csv", "-o", tmp_path / "no" / "such" / "folder.csv")
    assert ended.code == 3
    assert "folder.csv" in ended.err


class _Evil:
    """Its pickle creates a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (os.mkdir, (str(self.path),))


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("name", ["import", "import-fasterseg"])
def test_a_malicious_pickle_is_refused_and_not_run(command: Command, tmp_path: Path, name: str, wrapped: bool) -> None:
    trap, path = tmp_path / "trap", tmp_path / "table.npy"
    payload = {"a": _Evil(trap)}
    buffer = io.BytesIO()
    if wrapped:
        np.save(buffer, np.array(payload), allow_pickle=True)
    else:
        pickle.dump(payload, buffer)
    path.write_bytes(buffer.getvalue())
    extra = ["--device", "X", "--runtime", "Y 1"] if name == "import-fasterseg" else []

    ended = command(name, path, *extra, "--json")

    assert ended.code == 3
    assert ended.document["error"]["code"] == "unsafe_table"
    assert "pickle" in ended.err
    assert not trap.exists()
    assert not (tmp_path / "opclock.sqlite").exists()


@pytest.mark.parametrize("content", [b"", b"hello", b'{"opclock_table": 1}', b"PAR1", b"\x93NUMPY"])
@pytest.mark.parametrize("name", ["import", "import-fasterseg"])
def test_a_file_that_is_no_table(command: Command, tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    extra = ["--device", "X", "--runtime", "Y 1"] if name == "import-fasterseg" else []
    ended = command(name, path, *extra, "--json")
    assert (ended.code, ended.document["error"]["code"]) == (3, "table_file")
    assert str(path) in ended.err


@pytest.mark.parametrize("file_format", list(TableFormat))
def test_a_file_that_was_cut_short(command: Command, tmp_path: Path, file_format: TableFormat) -> None:
    path = tmp_path / "file"
    write_table(TABLE, path, file_format)
    path.write_bytes(path.read_bytes()[:-9])
    assert command("import", path).code == 3


def test_a_file_that_is_not_there(command: Command, tmp_path: Path) -> None:
    ended = command("import", tmp_path / "nothing.csv")
    assert ended.code == 3
    assert "nothing.csv" in ended.err


def test_the_published_table_keeps_its_owners_target(command: Command) -> None:
    published = reference_file("fasterseg/latency_lookup_table.npy")
    ended = command("import-fasterseg", published, "--device", "GTX 1080 Ti", "--runtime", "TensorRT 5.1.5", "--json")
    assert ended.code == 0, ended.err
    assert ended.document["entries"] == 667

    command("export", "--table", ended.document["table_id"], "--format", "npy", "-o", "t.npy")
    table = read_table(Path("t.npy"))

    assert len(table.entries) == 667
    assert table.info.target.device == "GTX 1080 Ti"
    assert table.info.target.label() == "GTX 1080 Ti, TensorRT 5.1.5"
    assert table.info.protocol is ProtocolName.ISOLATED
    assert all(entry.flags == (Flag.IMPORTED,) for entry in table.entries)
    assert table.info.provenance["source"] == "latency_lookup_table.npy"


def test_imported_numbers_never_pass_for_measured_ones(command: Command) -> None:
    """Another device or runtime is another table, however alike the files are."""
    published = reference_file("fasterseg/latency_lookup_table.npy")
    ids = {
        command("import-fasterseg", published, "--device", device, "--runtime", runtime, "--json").document["table_id"]
        for device, runtime in (("A", "TensorRT 5"), ("A", "TensorRT 6"), ("B", "TensorRT 5"), ("B", "TensorRT"))
    }
    assert len(ids) == 4


def test_an_import_needs_to_know_the_device(command: Command) -> None:
    published = reference_file("fasterseg/latency_lookup_table.npy")
    assert command("import-fasterseg", published, "--runtime", "TensorRT 5.1.5").code == 2
    ended = command("import-fasterseg", published, "--device", " ", "--runtime", "TensorRT 5.1.5")
    assert ended.code == 3
    assert "device" in ended.err
