"""CSV files as spreadsheets and people write them."""

from __future__ import annotations

import codecs
from pathlib import Path

import pytest

from models.spec.errors import TableFileError
from profiler_service.foreign.csv_file import read_csv
from profiler_service.foreign.sources import read_source
from tests.unit.profiler_service.foreign.conftest import Written

HEADER = "kind,in_channels,out_channels,height,width,stride,ms\n"
PLAIN = HEADER + "conv3x3,8,16,32,64,2,0.5\nskip,8,8,32,64,1,0.25\n"
FIRST = {"kind": "conv3x3", "in_channels": 8, "out_channels": 16, "height": 32, "width": 64, "stride": 2}


def test_the_plainest_file(written: Written) -> None:
    found = read_csv(written(PLAIN))
    assert [(row.row, row.ms) for row in found.rows] == [(2, 0.5), (3, 0.25)]
    assert found.rows[0].fields == FIRST
    assert (found.encoding, found.delimiter, found.decimal, found.ms_column) == ("utf-8", ",", ".", "ms")


GERMAN = "Kind;Cin;Cout;Size;Stride;Latency [ms];Größe\r\nconv3x3;8;16;32×64;2;0,5;ä\r\n"


@pytest.mark.parametrize(
    ("data", "encoding"),
    [
        (GERMAN.encode(), "utf-8"),
        (codecs.BOM_UTF8 + GERMAN.encode(), "utf-8"),
        (GERMAN.encode("cp1252"), "cp1252"),
        (GERMAN.replace(";", "\t").encode("utf-16"), "utf-16"),
        (codecs.BOM_UTF16_BE + GERMAN.encode("utf-16-be"), "utf-16"),
        (b"sep=;\r\n" + GERMAN.encode(), "utf-8"),
    ],
)
def test_as_excel_writes_it(written: Written, data: bytes, encoding: str) -> None:
    found = read_csv(written(data))
    assert (found.rows[0].fields, found.rows[0].ms) == (FIRST, 0.5)
    assert (found.encoding, found.decimal, found.ms_column, found.ignored) == (encoding, ",", "Latency [ms]", ("Größe",))


@pytest.mark.parametrize("kind", ["kind", "Operator", "op_type", "Type"])
@pytest.mark.parametrize("channels", [("in_channels", "out_channels"), ("C_in", "C_out"), ("Input channels", "Channels out")])
@pytest.mark.parametrize("ms", ["ms", "latency_ms", "Latency (ms)", "time [ms]", "Median_ms"])
def test_usual_names_of_columns(written: Written, kind: str, channels: tuple[str, str], ms: str) -> None:
    found = read_csv(written(f"{kind},{','.join(channels)},H,W,strides,{ms}\nconv3x3,8,16,32,64,2,0.5\n"))
    assert (found.rows[0].fields, found.rows[0].ms) == (FIRST, 0.5)


def test_rows_count_from_the_first_line_and_blank_ones_are_skipped(written: Written) -> None:
    found = read_csv(written("\nlabel,ms\n,\n\na,1\n"))
    assert [(row.row, row.fields) for row in found.rows] == [(5, {"label": "a"})]


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("0", "0"),
        ("0.000", "0"),
        ("-0.5", "negative"),
        ("NaN", "NaN"),
        ("inf", "infinite"),
        ("-Infinity", "infinite"),
        ("1e999", "infinite"),
        ("1e300", "latencies lie between"),
        ("", "empty"),
        ("#N/A", "not a number"),
        ("0.5 ms", "not a number"),
        ("1_000", "not a number"),
        ("٣", "not a number"),
        ("1.234.5", "not a number"),
    ],
)
def test_what_is_no_latency_is_named_by_row_and_column(written: Written, value: str, says: str) -> None:
    with pytest.raises(TableFileError, match=r"row 3, column 'ms'.*") as raised:
        read_csv(written(f"label,ms\na,1.5\nb,{value}\n"))
    assert says in raised.value.message


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("label;ms\na;0,5\nb;0.5\n", "row 2, column 'ms': '0,5' has a comma, and '0.5' in row 3 has a point"),
        ("label;ms\na;1.234,5\n", "row 2, column 'ms'"),
        ('label,ms\na,"1,234"\nb,"2,345"\n', "row 2, column 'ms': the comma in '1,234' may be a decimal mark"),
    ],
)
def test_decimal_marks_that_are_not_clear(written: Written, text: str, says: str) -> None:
    with pytest.raises(TableFileError) as raised:
        read_csv(written(text))
    assert says in raised.value.message


def test_quoted_decimal_commas(written: Written) -> None:
    found = read_csv(written('label,ms\na,"0,123"\nb,"1,5"\n'))
    assert [row.ms for row in found.rows] == [0.123, 1.5]


@pytest.mark.parametrize(
    ("header", "says"),
    [
        ("kind,in_channels,out_channels,size,latency", "column 'latency' does not say that it holds milliseconds"),
        ("label,latency_us", "column 'latency_us' does not say"),
        ("label,Time [µs]", r"column 'Time [µs]' does not say"),
        ("label,mean_ms,median_ms", "columns 'mean_ms' and 'median_ms' both mean ms"),
        ("kind,in_channels,ms", "no column holds out_channels, height, width"),
        ("a,b", "no column holds milliseconds; the columns are 'a', 'b'"),
        ("label,size,height,width,ms", "both a size and a height"),
    ],
)
def test_headers_that_leave_something_open(written: Written, header: str, says: str) -> None:
    with pytest.raises(TableFileError) as raised:
        read_csv(written(f"{header}\n{','.join('1' * len(header.split(',')))}\n"))
    assert "row 1: " in raised.value.message
    assert says in raised.value.message
    assert raised.value.hint


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("conv3x3,8,16,32,64,2", "row 2: it has 6 cells; there are 7 columns"),
        ("conv3x3,8,16,32,64,2,0.5,9", "row 2: it has 8 cells"),
        ("conv3x3,8.5,16,32,64,2,0.5", "row 2, column 'in_channels': '8.5' is not a whole number"),
        ("conv3x3,-8,16,32,64,2,0.5", "row 2, column 'in_channels': '-8'"),
        ("conv3x3,,16,32,64,2,0.5", "row 2: it does not state in_channels"),
        (",8,16,32,64,2,0.5", "row 2: it does not state kind"),
        ('"conv3x3,8,16,32,64,2,0.5', "row 2: it cannot be read"),
    ],
)
def test_rows_that_are_not_understood(written: Written, row: str, says: str) -> None:
    with pytest.raises(TableFileError) as raised:
        read_csv(written(HEADER + row + "\n"))
    assert says in raised.value.message


def test_whole_numbers_as_excel_writes_them(written: Written) -> None:
    found = read_csv(written(HEADER + "conv3x3,8.0,16.00,32,64,2,0.5\n"))
    assert found.rows[0].fields == FIRST


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"label,ms\n", "no rows"),
        (b"\n\n", "empty"),
        (b"l\0a\0b\0e\0l\0,\0m\0s\0", "NUL"),
        (b"label,ms\n\x81,1\n", "neither in utf-8 nor in cp1252"),
        (codecs.BOM_UTF16_LE + b"a", "not text in utf-16"),
        (b"PK\x03\x04rest", "Excel workbook"),
        (b'# opclock table {"opclock_table": 3}\r\n', "opclock exported"),
    ],
)
def test_files_that_are_no_csv(written: Written, data: bytes, says: str) -> None:
    with pytest.raises(TableFileError) as raised:
        read_csv(written(data))
    assert says in raised.value.message
    assert raised.value.hint


def test_files_are_read_within_bounds(tmp_path: Path, written: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "large"
    path.write_bytes(b"x" * 11)
    with pytest.raises(TableFileError, match="more than 10 bytes"):
        read_source(path, 10)
    monkeypatch.setattr("models.spec.limits.MAX_TABLE_ENTRIES", 2)
    assert len(read_csv(written("label,ms\na,1\nb,2\n")).rows) == 2
    with pytest.raises(TableFileError, match="row 4: it has more than 2 rows"):
        read_csv(written("label,ms\na,1\nb,2\nc,3\n"))
