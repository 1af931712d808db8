"""Table files as a user meets them: right ones, wrong ones, and malicious ones."""

from __future__ import annotations

import csv
import json
import os
import pickle
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest

from models.spec.errors import ErrorCode, TableFileError, UnsafeTableError
from models.spec.measurements import ProtocolName
from models.spec.table_files import TableFormat, from_bytes, read_table, to_bytes, write_table
from models.spec.table_files.arrow_formats import ArrowCodec, ParquetCodec
from models.spec.table_files.codec import FILE_VERSION, Header, TableCodec
from models.spec.table_files.numpy_format import ABSENT_INTEGER, NpyCodec
from models.spec.table_files.text_formats import CsvCodec, JsonCodec
from tests.support import table_samples as samples
from tests.support.reference import reference_file
from tests.support.repository import ROOT

every_format = pytest.mark.parametrize("file_format", list(TableFormat))
OLD_FILES = ROOT / "tests" / "data"


class TestReading:
    @every_format
    def test_the_format_is_seen_from_the_content(self, tmp_path: Path, file_format: TableFormat) -> None:
        path = tmp_path / "misleading.txt"
        write_table(samples.table(), path, file_format)
        assert read_table(path) == samples.table()

    @every_format
    def test_files_of_the_first_version_stay_readable(self, file_format: TableFormat) -> None:
        assert read_table(OLD_FILES / f"table_v1.{file_format}") == samples.table()

    @every_format
    def test_files_of_the_second_version_stay_readable(self, file_format: TableFormat) -> None:
        assert read_table(OLD_FILES / f"table_v2.{file_format}") == samples.table_on_gpu()

    @every_format
    def test_files_of_the_third_version_stay_readable(self, file_format: TableFormat) -> None:
        """Their architecture has branches, and the key of then."""
        found = read_table(OLD_FILES / f"table_v3.{file_format}")
        assert found.entries == samples.table_of_a_network().entries
        assert found.info == samples.table_of_a_network().info

    def test_reformatted_json_is_still_a_table(self) -> None:
        document = json.loads(to_bytes(samples.table(), TableFormat.JSON))
        assert from_bytes(json.dumps(document, indent=4).encode()) == samples.table()

    def test_csv_with_bare_line_feeds_is_still_a_table(self) -> None:
        table = samples.table().model_copy(update={"entries": samples.table().entries[1:]})  # its message has a line break
        assert from_bytes(to_bytes(table, TableFormat.CSV).replace(b"\r\n", b"\n")) == table

    def test_a_column_that_an_older_file_lacks_takes_its_default(self) -> None:
        document = json.loads(to_bytes(samples.table(), TableFormat.JSON))
        for entry in document["entries"]:
            del entry["flags"]
        assert {entry.flags for entry in from_bytes(json.dumps(document).encode()).entries} == {()}


class TestUseByOtherTools:
    def test_numpy_loads_the_rows(self, tmp_path: Path) -> None:
        path = tmp_path / "table.npy"
        write_table(samples.table(), path, TableFormat.NPY)
        rows = np.load(path)
        assert dict(zip(rows["key"].tolist(), rows["value_ms"].tolist(), strict=True)) == pytest.approx(
            {entry.key(): float("nan") if entry.value_ms is None else entry.value_ms for entry in samples.table().entries},
            nan_ok=True,
        )
        assert set(rows["engine_bytes"].tolist()) == {ABSENT_INTEGER}

    def test_a_spreadsheet_reads_the_csv_below_its_first_line(self, tmp_path: Path) -> None:
        path = tmp_path / "table.csv"
        write_table(samples.table(), path, TableFormat.CSV)
        with path.open(newline="") as file:
            assert file.readline().startswith("# opclock table {")
            rows = list(csv.DictReader(file))
        assert [row["label"] for row in rows] == [entry.workload.label() for entry in samples.table().entries]
        assert rows[1]["value_ms"] == repr(1.0)


class TestRefusal:
    def test_missing_file_and_folder(self, tmp_path: Path) -> None:
        for path in (tmp_path / "absent.csv", tmp_path):
            with pytest.raises(TableFileError, match="cannot be read") as caught:
                read_table(path)
            assert str(path) in str(caught.value)
            assert caught.value.hint

    @pytest.mark.parametrize(
        ("data", "message"),
        [
            (b"", "empty"),
            (b"op,ms\nconv,1.0\n", "none of the formats"),
            (b"\x7fELF\x02\x01", "none of the formats"),
            (b'{"alpha": {}}', "not a table"),
            (b"[1, 2", "none of the formats"),
        ],
    )
    def test_other_files(self, data: bytes, message: str) -> None:
        with pytest.raises(TableFileError, match=message) as caught:
            from_bytes(data, source="F")
        assert str(caught.value).startswith("F: ")
        assert caught.value.hint

    def test_a_plain_array(self, tmp_path: Path) -> None:
        np.save(tmp_path / "a.npy", np.arange(5))
        with pytest.raises(TableFileError, match="not a table"):
            read_table(tmp_path / "a.npy")

    def test_an_archive(self, tmp_path: Path) -> None:
        np.savez(tmp_path / "a.npz", a=np.arange(5))
        assert zipfile.is_zipfile(tmp_path / "a.npz")
        with pytest.raises(TableFileError, match="none of the formats"):
            read_table(tmp_path / "a.npz")

    @pytest.mark.parametrize("offset", [-1, 1])
    def test_another_number_of_rows_than_announced(self, offset: int) -> None:
        document = json.loads(to_bytes(samples.table(3), TableFormat.JSON))
        document["count"] += offset
        with pytest.raises(TableFileError, match=rf"says {4 + offset} rows, but holds 4"):
            from_bytes(json.dumps(document).encode())

    @pytest.mark.parametrize("codec", [CsvCodec(), JsonCodec(), ParquetCodec(), ArrowCodec(), NpyCodec()])
    def test_a_newer_version(self, codec: TableCodec) -> None:
        newer = Header(opclock_table=FILE_VERSION + 1, count=0, info=samples.info())
        with pytest.raises(TableFileError, match="newer") as caught:
            from_bytes(codec.encode(newer, []))
        assert "Upgrade" in caught.value.hint

    def test_an_edited_operator(self) -> None:
        data = to_bytes(samples.table(), TableFormat.CSV).replace(b"zoomed_conv3x3,4,9,", b"zoomed_conv3x3,4,99,")
        with pytest.raises(TableFileError, match=r"the key of zoomed_conv3x3 4→99 .* is [0-9a-f]{16}, but the file says"):
            from_bytes(data)

    def test_an_operator_twice(self) -> None:
        document = json.loads(to_bytes(samples.table(), TableFormat.JSON))
        document["entries"][1] = document["entries"][0]
        with pytest.raises(TableFileError, match="two entries for zoomed_conv3x3 4→1 "):
            from_bytes(json.dumps(document).encode())

    @pytest.mark.parametrize(
        ("column", "value", "message"),
        [
            ("value_ms", -1.0, "value_ms"),
            ("value_ms", "fast", "value_ms"),
            ("status", "fine", "status"),
            ("in_channels", 0, "in_channels"),
            ("in_channels", 10**30, "in_channels"),
            ("kind", "conv7x7", "unknown operator kind"),
            ("notes", "mine", "unknown column 'notes'"),
        ],
    )
    def test_a_bad_value_is_named(self, column: str, value: object, message: str) -> None:
        document = json.loads(to_bytes(samples.table(), TableFormat.JSON))
        document["entries"][1][column] = value
        with pytest.raises(TableFileError, match=message):
            from_bytes(json.dumps(document).encode())

    def test_a_number_beyond_floats(self) -> None:
        data = to_bytes(samples.table(), TableFormat.JSON).replace(b'"value_ms": 1.0', b'"value_ms": 1e999')
        with pytest.raises(TableFileError, match="finite"):
            from_bytes(data)

    def test_an_array_that_claims_more_than_memory(self) -> None:
        data = to_bytes(samples.table(), TableFormat.NPY)
        claimed = data.replace(b"(4,), }" + b" " * 12, b"(4000000000000,), }", 1)
        assert len(claimed) == len(data)
        with pytest.raises(TableFileError, match="cut short"):
            from_bytes(claimed)


class Exploit:
    """Unpickling it would leave a file behind."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.trace,))


class TestPickles:
    @pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
    def test_never_executed(self, tmp_path: Path, protocol: int) -> None:
        trace = tmp_path / "executed"
        path = tmp_path / "table.csv"
        path.write_bytes(pickle.dumps(Exploit(trace), protocol))
        with pytest.raises(UnsafeTableError) as caught:
            read_table(path)
        assert caught.value.code is ErrorCode.UNSAFE_TABLE
        assert "profiler-service import-" in caught.value.hint
        assert not trace.exists()

    @pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
    def test_never_executed_inside_an_array(self, tmp_path: Path, version: tuple[int, int]) -> None:
        trace = tmp_path / "executed"
        path = tmp_path / "table.npy"
        with path.open("wb") as file:
            np.lib.format.write_array(file, np.array([Exploit(trace)], dtype=object), version=version)
        for file_format in (None, TableFormat.NPY):
            with pytest.raises(UnsafeTableError):
                from_bytes(path.read_bytes(), file_format)
        assert not trace.exists()

    def test_the_published_table_is_refused_with_its_way_in(self) -> None:
        with pytest.raises(UnsafeTableError) as caught:
            read_table(reference_file("fasterseg/latency_lookup_table.npy"))
        assert "profiler-service import-" in caught.value.hint


class TestWriting:
    def test_where_nothing_can_be_written(self, tmp_path: Path) -> None:
        for path in (tmp_path / "absent" / "table.csv", tmp_path):
            with pytest.raises(TableFileError, match="cannot be written") as caught:
                write_table(samples.table(), path, TableFormat.CSV)
            assert str(path) in str(caught.value)

    def test_a_failed_write_leaves_the_earlier_file_and_no_other(self, tmp_path: Path) -> None:
        path = tmp_path / "table.csv"
        write_table(samples.table(1), path, TableFormat.CSV)
        script = (
            "import resource, signal, sys\n"
            "from pathlib import Path\n"
            "from models.spec.errors import TableFileError\n"
            "from models.spec.table_files import TableFormat, write_table\n"
            "from tests.support import table_samples\n"
            "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))\n"
            "try:\n"
            "    write_table(table_samples.table(50), Path(sys.argv[1]), TableFormat.CSV)\n"
            "except TableFileError as error:\n"
            "    print(error)\n"
        )
        done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True, cwd=ROOT)
        assert "cannot be written: File too large" in done.stdout
        assert read_table(path) == samples.table(1)
        assert list(tmp_path.iterdir()) == [path]

    def test_a_link_stays_a_link(self, tmp_path: Path) -> None:
        (tmp_path / "link.csv").symlink_to(tmp_path / "table.csv")
        write_table(samples.table(), tmp_path / "link.csv", TableFormat.CSV)
        assert (tmp_path / "link.csv").is_symlink()
        assert read_table(tmp_path / "table.csv") == samples.table()

    def test_into_a_pipe(self, tmp_path: Path) -> None:
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        received: list[bytes] = []
        reader = threading.Thread(target=lambda: received.append(pipe.read_bytes()))
        reader.start()
        write_table(samples.table(), pipe, TableFormat.JSON)
        reader.join()
        assert from_bytes(received[0]) == samples.table()


class TestLibraries:
    @pytest.mark.parametrize(
        ("library", "file_format"),
        [("pyarrow", TableFormat.ARROW), ("pyarrow", TableFormat.PARQUET), ("numpy", TableFormat.NPY)],
    )
    def test_an_absent_one_names_the_extra(
        self, library: str, file_format: TableFormat, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        data = to_bytes(samples.table(), file_format)
        monkeypatch.setitem(sys.modules, library, None)
        for attempt in (lambda: to_bytes(samples.table(), file_format), lambda: from_bytes(data)):
            with pytest.raises(TableFileError, match=f"needs {library}") as caught:
                attempt()
            assert "opclock[tables]" in caught.value.hint

    def test_none_is_imported_before_it_is_needed(self) -> None:
        script = (
            "import sys\n"
            "from models.spec.table_files import from_bytes, to_bytes\n"
            "from tests.support.table_samples import table\n"
            "before = {'numpy', 'pyarrow', 'torch'} & set(sys.modules)\n"
            "assert from_bytes(to_bytes(table(), 'csv')) == from_bytes(to_bytes(table(), 'json')) == table()\n"
            "print(before, {'numpy', 'pyarrow', 'torch'} & set(sys.modules))\n"
        )
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
        assert done.stdout.strip() == "set() set()"


@pytest.mark.parametrize(
    ("protocol", "table_id"), [(ProtocolName.IN_CONTEXT, "30beddac76457fce"), (ProtocolName.ISOLATED, "277120a93905b686")]
)
def test_a_protocol_that_was_added_changed_no_id(protocol: ProtocolName, table_id: str) -> None:
    """A changed id would orphan every table that is kept under the old one."""
    assert samples.info(protocol=protocol).id() == table_id
