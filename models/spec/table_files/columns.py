"""A table as columns: checked, ordered and written without a record for each row.

Every row is held to the checks that `from_row` makes: rows of which `row_rules` is not certain are parsed as records, which
accept or refuse them in their own words.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, Self

from models.spec.measurements import Flag, Measurement
from models.spec.table_files.arrow_formats import (
    ArrowTable,
    ColumnarCodec,
    columns_of,
    header_of,
    read_value,
    with_header,
)
from models.spec.table_files.codec import COLUMN_BY_NAME, COLUMNS, ColumnType, Header, Row, from_row, numbered, to_row, twice
from models.spec.table_files.codec import optional as library
from models.spec.table_files.row_rules import certain_rows
from models.spec.table_files.table_io import (
    CODECS,
    TableFormat,
    detect,
    from_bytes,
    naming_plugins,
    read_bytes,
    translated,
    write_bytes,
)
from models.spec.table_files.text_formats import CsvCodec, field_texts
from models.spec.tables import Table, TableInfo

_ROWS_AT_ONCE = 2_000
"""Rows that are Python objects at one time while a table is written as text."""


class Quality(NamedTuple):
    """What the verdict on a table looks at in one entry; see `Measurement`."""

    value_ms: float | None
    stderr_ms: float | None
    between_round_spread: float | None
    flags: tuple[Flag, ...]


class TableColumns:
    """A table of which entries become records when they are asked for. It says the same as the `Table` of its rows.

    Attributes:
        info: the table's identity and provenance.
    """

    def __init__(self, info: TableInfo, columns: ArrowTable) -> None:
        """Of columns that were read by a codec. Raises TableFileError where a row is none."""
        self.info = info
        self._columns = _ordered(columns)
        self._keys: Sequence[str] = self._columns["key"].to_pylist()
        self._made: dict[str, Measurement] = {}

    @classmethod
    def from_bytes(cls, data: bytes, file_format: TableFormat = TableFormat.ARROW, *, source: str = "table") -> Self:
        """The table in those bytes.

        Args:
            data: contents of a file.
            file_format: Arrow or Parquet.
            source: where it came from, named in messages.

        Raises:
            TableFileError: it is no table, cut short, damaged, of a later version, or larger than is allowed.
            MissingPluginError: it needs a plugin that is not installed.
        """
        codec = CODECS[file_format]
        if not isinstance(codec, ColumnarCodec):
            raise TypeError(f"{file_format.value} is no format of columns")
        with translated(source):
            columns = codec.read(data)
            info = header_of(columns.schema).info
            with naming_plugins(info):
                return cls(info, columns)

    def __len__(self) -> int:
        """Number of entries, failed ones included."""
        return len(self._keys)

    @cached_property
    def table(self) -> Table:
        """The same as records."""
        return Table(info=self.info, entries=tuple(map(from_row, self._rows())))

    def entry(self, key: str) -> Measurement | None:
        """The entry of an operator; None where there is none."""
        row = self._row_of.get(key)
        if row is not None and key not in self._made:
            self._made[key] = from_row(next(_rows(self._columns.slice(row, 1))))
        return self._made.get(key)

    def values_ms(self) -> dict[str, float]:
        """Operator key to table value, only of successful measurements."""
        values = self._columns["value_ms"].to_pylist()
        return {key: value for key, value in zip(self._keys, values, strict=True) if value is not None}

    def values(self, *names: str) -> Iterator[tuple[Any, ...]]:
        """Those columns of every entry in order, as `from_row` takes them."""
        return zip(*(_values(self._columns, name) for name in names), strict=True)

    def qualities(self) -> list[Quality]:
        """What a verdict looks at, of every entry in order."""
        flags = self._columns["flags"].to_pylist()
        known = {text: tuple(map(Flag, json.loads(text))) for text in set(flags)}
        values, stderr, spread = (self._columns[name].to_pylist() for name in Quality._fields[:3])
        return [Quality(*fields[:3], known[fields[3]]) for fields in zip(values, stderr, spread, flags, strict=True)]

    def to_bytes(self, file_format: TableFormat) -> bytes:
        """The table in that format: the same bytes as `to_bytes` gives for the records. In JSON alone, an architecture's
        fields are in alphabetical order.
        """
        header = Header(count=len(self), info=self.info)
        codec = CODECS[file_format]
        if isinstance(codec, ColumnarCodec):
            return codec.write(with_header(self._columns, header))
        if isinstance(codec, CsvCodec):
            return codec.encode_fields(header, self._lines())
        return codec.encode(header, _Rows(self._columns))

    def write(self, path: Path, file_format: TableFormat) -> None:
        """Write it to a file; see `write_table`."""
        write_bytes(self.to_bytes(file_format), path)

    @cached_property
    def _row_of(self) -> Mapping[str, int]:
        return {key: row for row, key in enumerate(self._keys)}

    def _lines(self) -> Iterator[tuple[str, ...]]:
        """The fields of each row as CSV has them."""
        for start in range(0, len(self), _ROWS_AT_ONCE):
            part = self._columns.slice(start, _ROWS_AT_ONCE)
            yield from zip(*(field_texts(column, part[column.name].to_pylist()) for column in COLUMNS), strict=True)

    def _rows(self) -> Iterator[Row]:
        return iter(_Rows(self._columns))


def read_columns(path: Path) -> Table | TableColumns:
    """The table in a file: as columns where its format has them, else as records.

    Raises:
        TableFileError, UnsafeTableError: as `read_table`.
    """
    data = read_bytes(path)
    with translated(str(path)):
        file_format = detect(data)
    if isinstance(CODECS[file_format], ColumnarCodec):
        return TableColumns.from_bytes(data, file_format, source=str(path))
    return from_bytes(data, file_format, source=str(path))


def _ordered(columns: ArrowTable) -> ArrowTable:
    """All columns, in the order and with the texts that `Table` and `to_row` give them.

    Raises:
        TableFileError: a row is no entry, or two hold the same operator; names them.
    """
    np, pa = library("numpy"), library("pyarrow")
    certain = certain_rows(columns)
    keys, labels = certain.keys, certain.labels
    stated = columns["key"].to_pylist() if "key" in columns.column_names else [None] * columns.num_rows
    others = np.flatnonzero(~(certain.rows & (np.array(stated, object) == np.array(keys, object)))).tolist()
    records: dict[int, Row] = {}
    for row in others:
        entry = numbered(row + 1, next(_rows(columns.slice(row, 1))))
        records[row] = to_row(entry)
        keys[row], labels[row] = entry.key(), entry.workload.label()
    order = sorted(range(len(keys)), key=lambda row: (labels[row], keys[row]))
    for one, other in pairwise(order):
        if keys[one] == keys[other]:
            raise twice(min(one, other) + 1, max(one, other) + 1, labels[one], keys[one])
    if records or columns.num_columns < len(COLUMNS):
        columns = _replaced(columns, records)
    index = columns.schema.get_field_index("label")
    columns = columns.set_column(index, columns.schema.field(index), pa.array(labels, pa.string()))
    if any(one > other for one, other in pairwise(order)):
        columns = columns.take(pa.array(order, pa.int64()))
    return columns.select([column.name for column in COLUMNS]).combine_chunks()


def _replaced(columns: ArrowTable, records: Mapping[int, Row]) -> ArrowTable:
    """The columns with those rows as they are written, absent columns and defaults filled in."""
    np, pa = library("numpy"), library("pyarrow")
    written = columns_of(list(records.values()))
    rows = np.array(list(records), np.int64)
    if len(records) == columns.num_rows:
        return written
    kept = np.setdiff1d(np.arange(columns.num_rows), rows)
    both = pa.concat_tables([columns.select(written.column_names).take(pa.array(kept)).cast(written.schema), written])
    return both.take(pa.array(np.argsort(np.concatenate([kept, rows]), kind="stable")))


class _Rows(Sequence[Row]):
    """The rows of columns, made as they are read and not kept."""

    def __init__(self, columns: ArrowTable) -> None:
        self._columns = columns

    def __len__(self) -> int:
        return int(self._columns.num_rows)

    def __getitem__(self, index: Any) -> Any:
        return list(_rows(self._columns))[index]

    def __iter__(self) -> Iterator[Row]:
        for start in range(0, len(self), _ROWS_AT_ONCE):
            yield from _rows(self._columns.slice(start, _ROWS_AT_ONCE))


def _rows(columns: ArrowTable) -> Iterator[Row]:
    names = columns.column_names
    for values in zip(*(_values(columns, name) for name in names), strict=True):
        yield dict(zip(names, values, strict=True))


def _values(columns: ArrowTable, name: str) -> Iterable[Any]:
    """A column as the values of rows."""
    column, values = COLUMN_BY_NAME[name], columns[name].to_pylist()
    return (read_value(column, value) for value in values) if column.type is ColumnType.JSON else values
