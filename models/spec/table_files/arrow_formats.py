"""Arrow (IPC stream) and Parquet: typed columns with nulls; the header is in the schema's metadata under `opclock`."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Sequence
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
    optional,
    require_known,
)

ArrowTable = Any
"""A `pyarrow.Table`, which has no types to check against."""

_METADATA = b"opclock"
_END_OF_STREAM = b"\xff\xff\xff\xff\x00\x00\x00\x00"


class ColumnarCodec(TableCodec):
    """What the two formats have in common: an Arrow table."""

    def encode(self, header: Header, rows: Sequence[Row]) -> bytes:
        """See `TableCodec`."""
        pa = optional("pyarrow")
        types = {
            ColumnType.TEXT: pa.string(),
            ColumnType.INTEGER: pa.int64(),
            ColumnType.FLOAT: pa.float64(),
            ColumnType.TIME: pa.timestamp("us", tz="UTC"),
            ColumnType.JSON: pa.string(),
        }
        schema = pa.schema(
            [pa.field(column.name, types[column.type], column.nullable) for column in COLUMNS],
            metadata={_METADATA: canonical_json(header.model_dump(mode="json")).encode()},
        )
        arrays = [pa.array([_write(column, row) for row in rows], types[column.type]) for column in COLUMNS]
        return self.write(pa.Table.from_arrays(arrays, schema=schema))

    def decode(self, data: bytes) -> tuple[Header, Sequence[Row]]:
        """See `TableCodec`."""
        table = self.read(data)
        header = header_of(table.schema)
        table.validate(full=True)
        names = table.column_names
        require_known(names)
        columns = [[_read(COLUMN_BY_NAME[name], value) for value in table[name].to_pylist()] for name in names]
        return header, [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]

    @abstractmethod
    def write(self, table: ArrowTable) -> bytes:
        """The table in this format."""

    @abstractmethod
    def read(self, data: bytes) -> ArrowTable:
        """The table in those bytes, its number of rows compared with the header's before any is read."""


class ArrowCodec(ColumnarCodec):
    """The IPC stream, which is also the format on HTTP."""

    magic: ClassVar[bytes] = b"\xff\xff\xff\xff"

    def write(self, table: ArrowTable) -> bytes:
        """See `ColumnarCodec`."""
        pa = optional("pyarrow")
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as stream:
            stream.write_table(table)
        data: bytes = sink.getvalue().to_pybytes()
        return data

    def read(self, data: bytes) -> ArrowTable:
        """See `ColumnarCodec`."""
        if not data.endswith(_END_OF_STREAM):
            raise TableFileError("the stream has no end: it was cut short", hint="Export or copy it again.")
        pa = optional("pyarrow")
        with pa.ipc.open_stream(data) as stream:
            return stream.read_all()


class ParquetCodec(ColumnarCodec):
    """For keeping: compressed, read by every data tool."""

    magic: ClassVar[bytes] = b"PAR1"

    def write(self, table: ArrowTable) -> bytes:
        """See `ColumnarCodec`."""
        pa, parquet = optional("pyarrow"), optional("pyarrow.parquet")
        sink = pa.BufferOutputStream()
        parquet.write_table(table, sink, compression="zstd", write_page_checksum=True)
        data: bytes = sink.getvalue().to_pybytes()
        return data

    def read(self, data: bytes) -> ArrowTable:
        """See `ColumnarCodec`."""
        pa, parquet = optional("pyarrow"), optional("pyarrow.parquet")
        with parquet.ParquetFile(pa.BufferReader(data), page_checksum_verification=True) as file:
            header_of(file.schema_arrow).require_count(file.metadata.num_rows)
            return file.read()


def header_of(schema: Any) -> Header:
    """The header in a `pyarrow.Schema`'s metadata. Raises TableFileError."""
    return Header.read(json.loads((schema.metadata or {}).get(_METADATA, b"null")))


def _write(column: Column, row: Row) -> Any:
    value = row[column.name]
    return canonical_json(value) if column.type is ColumnType.JSON and value is not None else value


def _read(column: Column, value: Any) -> Any:
    return json.loads(value) if column.type is ColumnType.JSON and value is not None else value
