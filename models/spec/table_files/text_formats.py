"""The text formats, CSV and JSON.

CSV (RFC 4180) has a comment line with the header, a line of column names, then one line per entry. To read one with pandas:
`pandas.read_csv(path, skiprows=1)`.

JSON has the header's fields, then `entries`, a list of objects without their absent columns.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Any, ClassVar

from models.spec.base import canonical_json
from models.spec.errors import TableFileError
from models.spec.table_files.codec import (
    COLUMN_BY_NAME,
    COLUMNS,
    Column,
    ColumnType,
    Header,
    Row,
    TableCodec,
    require_known,
    require_unique,
)

_WRITE: Mapping[ColumnType, Callable[[Any], str]] = {
    ColumnType.TEXT: str,
    ColumnType.INTEGER: str,
    ColumnType.FLOAT: repr,
    ColumnType.TIME: datetime.isoformat,
    ColumnType.JSON: canonical_json,
}
_READ: Mapping[ColumnType, Callable[[str], Any]] = {
    ColumnType.TEXT: str,
    ColumnType.INTEGER: int,
    ColumnType.FLOAT: float,
    ColumnType.TIME: datetime.fromisoformat,
    ColumnType.JSON: json.loads,
}
_LINE_END = "\r\n"


class CsvCodec(TableCodec):
    """Absent values are empty fields."""

    magic: ClassVar[bytes] = b"# opclock table "

    def encode(self, header: Header, rows: Sequence[Row]) -> bytes:
        """See `TableCodec`."""
        return self.encode_fields(header, ([_write(column, row[column.name]) for column in COLUMNS] for row in rows))

    def encode_fields(self, header: Header, lines: Iterable[Iterable[str]]) -> bytes:
        """The file's bytes, of the texts of each row in the order of `COLUMNS`."""
        text = io.StringIO(newline="")
        text.write(self.magic.decode() + canonical_json(header.model_dump(mode="json")) + _LINE_END)
        writer = csv.writer(text, lineterminator=_LINE_END)
        writer.writerow(COLUMN_BY_NAME)
        writer.writerows(lines)
        return text.getvalue().encode()

    def decode(self, data: bytes) -> tuple[Header, Sequence[Row]]:
        """See `TableCodec`. Lines may end in a single line feed, as editors write them."""
        text = data.decode()
        first, _, rest = text.partition("\n")
        header = Header.read(json.loads(first.removeprefix(self.magic.decode())))
        if not rest.endswith("\n"):
            raise TableFileError("its last line has no end: it was cut short", hint="Export or copy it again.")
        # A field may be as long as the file; the library's own limit is far below the longest architecture.
        csv.field_size_limit(max(csv.field_size_limit(), len(text)))
        lines = csv.reader(io.StringIO(rest, newline=""), strict=True)
        names = next(lines)
        require_known(names)
        require_unique(names)
        columns = [COLUMN_BY_NAME[name] for name in names]
        read = [
            {column.name: _read(column, field) for column, field in zip(columns, line, strict=True)}
            for line in islice(lines, header.count)
        ]
        header.require_count(len(read) + sum(1 for _ in lines))
        return header, read


def field_texts(column: Column, values: Iterable[Any]) -> list[str]:
    """A column's values as CSV has them. JSON comes as its text."""
    write = str if column.type is ColumnType.JSON else _WRITE[column.type]
    return ["" if value is None else write(value) for value in values]


def _write(column: Column, value: object) -> str:
    return "" if value is None else _WRITE[column.type](value)


def _read(column: Column, field: str) -> object:
    return None if column.nullable and not field else _READ[column.type](field)


class JsonCodec(TableCodec):
    """Numbers are written by `repr`, which is exact."""

    magic: ClassVar[bytes] = b"{"

    def encode(self, header: Header, rows: Sequence[Row]) -> bytes:
        """One entry per line, so that two exports can be compared with `diff`."""
        head = _dump(header.model_dump(mode="json")).removesuffix("}")
        entries = ",\n".join(_dump({name: value for name, value in row.items() if value is not None}) for row in rows)
        return f'{head}, "entries": [\n{entries}\n]}}'.encode()

    def decode(self, data: bytes) -> tuple[Header, Sequence[Row]]:
        """See `TableCodec`."""
        document = json.loads(data)
        rows = document.pop("entries", None) if isinstance(document, dict) else None
        header = Header.read(document)
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise TableFileError("it holds no list of entries", hint="Export the table again.")
        return header, rows


def _dump(value: object) -> str:
    return json.dumps(value, allow_nan=False, ensure_ascii=False, default=datetime.isoformat)
