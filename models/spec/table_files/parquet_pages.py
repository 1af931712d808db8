"""What the pages of a Parquet file take by their own headers: a reader reserves what those say, whatever the footer says.

Source: parquet.thrift of Apache Parquet (PageHeader), in Thrift's compact protocol. It is read strictly: a field twice, or of a
type that a page header does not have, could be read otherwise by Arrow, and is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NoReturn

from models.spec.errors import TableFileError

_DATA, _DICTIONARY, _DATA_V2 = 0, 2, 3
_HEADER_FIELD = {_DATA: 5, _DICTIONARY: 7, _DATA_V2: 8}
_ENCODING_FIELD = {_DATA: 2, _DICTIONARY: 2, _DATA_V2: 4}
_ENCODINGS = frozenset({0, 2, 3, 4, 5, 8, 9})
"""PLAIN, PLAIN_DICTIONARY, RLE, BIT_PACKED, DELTA_BINARY_PACKED, RLE_DICTIONARY, BYTE_STREAM_SPLIT."""

_TRUE, _FALSE, _BYTE, _I32, _I64, _BINARY, _STRUCT = 1, 2, 3, 5, 6, 8, 12
_LEAST_BYTES = 4
"""Of a value in a dictionary: the shortest number, or the length of a text."""


def decompressed_bytes(data: bytes, chunk: Any, rows: int) -> int:
    """What the pages of one column chunk take when they are decompressed.

    Args:
        data: the whole file.
        chunk: a `pyarrow.parquet.ColumnChunkMetaData` of a flat column.
        rows: of its row group.

    Raises:
        TableFileError: the headers contradict the footer or themselves, or name an encoding whose values may take any room.
    """
    name = chunk.path_in_schema
    start = chunk.data_page_offset
    if chunk.dictionary_page_offset is not None and (start == 0 or 0 < chunk.dictionary_page_offset < start):  # 0: no values
        start = chunk.dictionary_page_offset
    end = start + chunk.total_compressed_size
    if chunk.num_values != rows or not 0 < start <= end <= len(data):
        _refuse(name, "its place or number of values is wrong")
    at, size, values, pages = start, 0, 0, 0
    while at < end:
        page, at = _Page.read(data, at, end, name)
        if page.kind == _DICTIONARY:
            if pages or page.values > rows or page.values * _LEAST_BYTES > page.size:
                _refuse(name, f"a dictionary of {page.values} values in {page.size} bytes")
        else:
            values += page.values
        size, pages, at = size + page.size, pages + 1, at + page.compressed
        if at > end or pages > rows + 2:
            _refuse(name, "its pages go past their end")
    if values != rows:
        _refuse(name, f"its pages hold {values} values, but there are {rows} rows")
    return size


@dataclass(frozen=True)
class _Page:
    """A page header: the page's kind, its bytes in the file and when decompressed, and its number of values."""

    kind: int
    size: int
    compressed: int
    values: int

    @classmethod
    def read(cls, data: bytes, at: int, end: int, name: str) -> tuple[_Page, int]:
        """The header that begins there, and where it ends. Raises TableFileError."""
        reader = _Reader(data, at, end, name)
        fields = reader.struct(depth=0)
        kind = reader.number(fields, 1)
        own = fields.get(_HEADER_FIELD.get(kind, -1))
        if not isinstance(own, dict):
            _refuse(name, f"a page of type {kind}")
        encoding = reader.number(own, _ENCODING_FIELD[kind])
        if encoding not in _ENCODINGS:
            _refuse(name, f"a page of encoding {encoding}")
        return cls(kind, reader.number(fields, 2), reader.number(fields, 3), reader.number(own, 1)), reader.at


@dataclass
class _Reader:
    data: bytes
    at: int
    end: int
    name: str

    def struct(self, depth: int) -> dict[int, Any]:
        """The fields of a struct by their numbers; those that are not numbers or structs as None."""
        fields: dict[int, Any] = {}
        number = 0
        while head := self._byte():
            delta, kind = divmod(head, 16)
            number = number + delta if delta else self._signed()
            if number in fields:
                _refuse(self.name, f"field {number} twice in a page's header")
            fields[number] = self._value(kind, depth)
        return fields

    def number(self, fields: dict[int, Any], field: int) -> int:
        """That field, a size or a count. Raises TableFileError where it is absent, negative or too large."""
        value = fields.get(field)
        if not isinstance(value, int) or not 0 <= value < 2**31:
            _refuse(self.name, f"{value} as field {field} of a page's header")
        return value

    def _value(self, kind: int, depth: int) -> int | dict[int, Any] | None:
        if kind == _I32:
            return self._signed()
        if kind == _STRUCT and depth < 2:  # the page's own header, and the statistics in that
            return self.struct(depth + 1)
        if kind == _I64:
            self._signed()
        elif kind == _BINARY:
            self._skip(self._unsigned())
        elif kind == _BYTE:
            self._skip(1)
        elif kind not in (_TRUE, _FALSE):
            _refuse(self.name, f"type {kind} in a page's header")
        return None

    def _skip(self, count: int) -> None:
        self.at += count
        if self.at > self.end:
            _refuse(self.name, "a page's header goes past its end")

    def _byte(self) -> int:
        self._skip(1)
        return self.data[self.at - 1]

    def _unsigned(self) -> int:
        value = shift = 0
        while (byte := self._byte()) >= 0x80:
            value |= (byte & 0x7F) << shift
            shift += 7
            if shift > 63:
                _refuse(self.name, "a number without an end in a page's header")
        return value | byte << shift

    def _signed(self) -> int:
        value = self._unsigned()
        return value >> 1 ^ -(value & 1)


def _refuse(name: str, what: str) -> NoReturn:
    raise TableFileError(
        f"column {name!r} cannot be read: {what}", hint="Use a file that `profiler-service export` wrote, or copy it again."
    )
