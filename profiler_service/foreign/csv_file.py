"""CSV files as spreadsheets write them: text encodings, delimiters, decimal marks, and rows by the names of columns."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from models.spec import limits
from profiler_service.foreign.csv_columns import columns_of
from profiler_service.foreign.sources import SourceFile, require_latency

MAX_CSV_BYTES = 32 * 2**20
"""About ten times the largest table that the database takes."""

DELIMITER_NAMES = {",": "comma", ";": "semicolon", "\t": "tab"}

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
"""Byte-order marks; the longer ones first."""

_SEPARATOR_LINE = re.compile(r"sep=(.)\r?\n", re.IGNORECASE)
_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:[.,][0-9]*)?|[.,][0-9]+)(?:[eE][+-]?[0-9]{1,4})?")
_THOUSANDS = re.compile(r"[+-]?[1-9][0-9]{0,2},[0-9]{3}")
_NOT_FINITE = re.compile(r"[+-]?(?:nan|inf|infinity|∞)", re.IGNORECASE)
_WHOLE = re.compile(r"([0-9]{1,9})(?:[.,]0+)?")
_SIZE = re.compile(r"\s*([0-9]{1,9})\s*[x×*]\s*([0-9]{1,9})\s*", re.IGNORECASE)

WHOLE_FIELDS = frozenset({"in_channels", "out_channels", "height", "width", "stride", "batch"})


@dataclass(frozen=True)
class CsvRow:
    """One row.

    Attributes:
        row: its number in the file; the first line is 1.
        ms: milliseconds, finite and positive.
        fields: what the row states of its operator, by field or attribute; `size` is given as height and width.
    """

    row: int
    ms: float
    fields: Mapping[str, int | str]


@dataclass(frozen=True)
class CsvFile:
    """The rows of a file, and how it was read.

    Attributes:
        rows: in order, blank ones left out.
        encoding: text encoding.
        delimiter: between cells.
        decimal: decimal mark of the milliseconds: `.` or `,`.
        ms_column: name of the column of milliseconds.
        ignored: names of the columns that were not read.
    """

    rows: tuple[CsvRow, ...]
    encoding: str
    delimiter: str
    decimal: str
    ms_column: str
    ignored: tuple[str, ...]


def read_csv(source: SourceFile) -> CsvFile:
    """The rows of a CSV file.

    Raises:
        TableFileError: it is no such file; a row has a missing or surplus cell, or a value that is not what its column holds;
            or a latency is zero, negative, infinite or NaN. The message names row and column.
    """
    text, encoding = _decode(source)
    if text.startswith("# opclock table "):
        raise source.refuse("", "this is a table that opclock exported", "Use `profiler-service import` for it.")
    separator = _SEPARATOR_LINE.match(text)
    delimiter = separator[1] if separator else _delimiter(text)
    if delimiter not in DELIMITER_NAMES:
        raise source.refuse("row 1", f"{delimiter!r} separates the cells", "Separate them by a comma, a semicolon or a tab.")
    records = _records(source, text, delimiter)
    if separator:
        next(records)
    row, header = next(records, (1, []))
    header = [title.strip() for title in header]
    columns = columns_of(source, row, header)
    cells = [(number, _cells(source, number, record, header, columns)) for number, record in records]
    if not cells:
        raise source.refuse("", "it has names of columns, but no rows", "Give the file with the values.")
    ms_column = header[columns["ms"]]
    decimal = _decimal(source, ms_column, delimiter, [(number, found["ms"]) for number, found in cells])
    rows = tuple(
        CsvRow(number, _latency(source, f"row {number}, column {ms_column!r}", found["ms"]), _fields(source, number, found))
        for number, found in cells
    )
    used = set(columns.values())
    ignored = tuple(title for index, title in enumerate(header) if index not in used and title)
    return CsvFile(rows, encoding, delimiter, decimal, ms_column, ignored)


def _decode(source: SourceFile) -> tuple[str, str]:
    """The text, without a byte-order mark, and its encoding."""
    encoding = next((name for mark, name in _MARKS if source.data.startswith(mark)), "")
    hint = "Save it as CSV in UTF-8, and give that file."
    try:
        text = source.data.decode(encoding or "utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        if encoding:
            raise source.refuse("", f"byte {error.start} is not text in {encoding}", hint) from error
        try:
            text, encoding = source.data.decode("cp1252"), "cp1252"
        except UnicodeDecodeError as other:
            raise source.refuse("", f"byte {other.start} is text neither in utf-8 nor in cp1252", hint) from other
    if "\0" in text:
        raise source.refuse("", "it is not text: it has NUL characters", hint)
    return text, encoding or "utf-8"


def _delimiter(text: str) -> str:
    """That of the first line that is not blank: a semicolon or a tab if it has any, else a comma."""
    line = next((line for line in text.splitlines() if line.strip()), "")
    return ";" if ";" in line else "\t" if "\t" in line else ","


def _records(source: SourceFile, text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Number of its first line, and cells, of each row that is not blank."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    count = 0
    while True:
        number = reader.line_num + 1
        try:
            record = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise source.refuse(f"row {number}", f"it cannot be read: {error}", "Check its quotation marks.") from error
        if not any(cell.strip() for cell in record):
            continue
        count += 1
        if count > limits.MAX_TABLE_ENTRIES + 1:
            raise source.refuse(
                f"row {number}", f"it has more than {limits.MAX_TABLE_ENTRIES} rows, which is the limit", "Give a part of it."
            )
        yield number, record


def _cells(
    source: SourceFile, row: int, record: Sequence[str], header: Sequence[str], columns: Mapping[str, int]
) -> dict[str, str]:
    """What the row has in each column that is read, without space around it."""
    if len(record) != len(header):
        raise source.refuse(
            f"row {row}",
            f"it has {len(record)} cells; there are {len(header)} columns",
            "Check its delimiters and quotation marks.",
        )
    return {field: record[index].strip() for field, index in columns.items()}


def _decimal(source: SourceFile, column: str, delimiter: str, texts: Sequence[tuple[int, str]]) -> str:
    """The decimal mark of the milliseconds. Raises TableFileError if they have both, or if a comma may group thousands."""
    commas = [(row, text) for row, text in texts if "," in text]
    points = [(row, text) for row, text in texts if "." in text]
    if not commas:
        return "."
    row, text = commas[0]
    hint = "Write all values alike, such as 0.5, without marks between thousands."
    if points:
        problem = f"{text!r} has a comma, and {points[0][1]!r} in row {points[0][0]} has a point"
        raise source.refuse(f"row {row}, column {column!r}", problem, hint)
    if delimiter == "," and all(_THOUSANDS.fullmatch(text) for _, text in commas):
        problem = f"the comma in {text!r} may be a decimal mark, or it may group thousands"
        raise source.refuse(f"row {row}, column {column!r}", problem, hint)
    return ","


def _latency(source: SourceFile, place: str, text: str) -> float:
    if not text:
        raise source.refuse(place, "the cell is empty", "Give the milliseconds, or remove the row.")
    if _NOT_FINITE.fullmatch(text):
        return require_latency(source, place, float(text.replace("∞", "inf")))
    if not _NUMBER.fullmatch(text):
        raise source.refuse(place, f"{text[:40]!r} is not a number", "Give milliseconds as a plain number, such as 0.5.")
    return require_latency(source, place, float(text.replace(",", ".")))


def _fields(source: SourceFile, row: int, cells: Mapping[str, str]) -> dict[str, int | str]:
    """What the row states; an empty cell states nothing."""
    fields: dict[str, int | str] = {}
    for field, text in cells.items():
        if field == "ms" or not text:
            continue
        if field == "size":
            match = _SIZE.fullmatch(text)
            if not match:
                raise source.refuse(
                    f"row {row}, column {field!r}", f"{text[:40]!r} is not HEIGHTxWIDTH", "Write it as 64x128, height first."
                )
            fields |= {"height": int(match[1]), "width": int(match[2])}
        elif field in WHOLE_FIELDS:
            whole = _WHOLE.fullmatch(text)
            if not whole:
                raise source.refuse(
                    f"row {row}, column {field!r}", f"{text[:40]!r} is not a whole number", "Write it in digits, such as 64."
                )
            fields[field] = int(whole[1])
        else:
            fields[field] = text
    _require_named(source, row, fields)
    return fields


def _require_named(source: SourceFile, row: int, fields: Mapping[str, int | str]) -> None:
    if "label" in fields or "key" in fields:
        return
    lacking = [name for name in ("kind", "in_channels", "out_channels", "height", "width") if name not in fields]
    if lacking:
        raise source.refuse(
            f"row {row}", f"it does not state {', '.join(lacking)}", "State them, or give the operator's label or key."
        )
