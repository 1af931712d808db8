"""Arrow (IPC stream) and Parquet: typed columns with nulls; the header is in the schema's metadata under `opclock`."""

from __future__ import annotations

import json
import struct
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

from models.spec import limits
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
    require_unique,
)
from models.spec.table_files.parquet_pages import decompressed_bytes

ArrowTable = Any
"""A `pyarrow.Table`, which has no types to check against."""

_METADATA = b"opclock"
_END_OF_STREAM = b"\xff\xff\xff\xff\x00\x00\x00\x00"


class ColumnarCodec(TableCodec):
    """What the two formats have in common: an Arrow table."""

    def encode(self, header: Header, rows: Sequence[Row]) -> bytes:
        """See `TableCodec`."""
        return self.write(with_header(columns_of(rows), header))

    def decode(self, data: bytes) -> tuple[Header, Sequence[Row]]:
        """See `TableCodec`."""
        table = self.read(data)
        names = table.column_names
        columns = [[read_value(COLUMN_BY_NAME[name], value) for value in table[name].to_pylist()] for name in names]
        return header_of(table.schema), [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]

    @abstractmethod
    def write(self, table: ArrowTable) -> bytes:
        """The table in this format."""

    @abstractmethod
    def read(self, data: bytes) -> ArrowTable:
        """The table in those bytes: known columns of their own types, valid, as many rows as its header says.

        Bounded before it is read are the rows, the columns, and what they decompress to.

        Raises:
            TableFileError: it is none of ours, of a later version, cut short, or larger than is allowed.
        """


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
        batches = []
        rows = 0
        messages = pa.ipc.MessageReader.open_stream(data)
        schema = pa.ipc.read_schema(messages.read_next_message())
        header = checked_schema(schema)
        for message in messages:
            if message.type != "record batch" or _is_compressed(message.metadata.to_pybytes()):
                raise TableFileError(
                    f"it holds a compressed or foreign part ({message.type})", hint="Use Parquet for a compressed table."
                )
            batches.append(pa.ipc.read_record_batch(message, schema))
            rows += batches[-1].num_rows
            if rows > header.count or len(batches) > header.count + 1:
                header.require_count(max(rows, header.count + 1))
        header.require_count(rows)
        return in_own_types(pa.Table.from_batches(batches, schema))


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
        source = pa.BufferReader(data)
        metadata = parquet.read_metadata(source)
        header = checked_schema(metadata.schema.to_arrow_schema())
        header.require_count(metadata.num_rows)
        if metadata.num_row_groups > header.count + 1:
            raise TableFileError(
                f"it has {metadata.num_row_groups} row groups for {header.count} rows", hint="Export or copy it again."
            )
        groups = [metadata.row_group(group) for group in range(metadata.num_row_groups)]
        header.require_count(sum(group.num_rows for group in groups))
        chunks = [(group.column(column), group.num_rows) for group in groups for column in range(metadata.num_columns)]
        require_size(sum(max(chunk.total_uncompressed_size, 0) for chunk, _ in chunks))
        for chunk, _ in chunks:
            if other := set(chunk.encodings) - _ENCODINGS:
                raise TableFileError(
                    f"column {chunk.path_in_schema!r} is encoded as {', '.join(sorted(other))}",
                    hint="Use a file that `profiler-service export` wrote.",
                )
        require_size(sum(decompressed_bytes(data, chunk, rows) for chunk, rows in chunks))
        texts = [field.name for field in metadata.schema.to_arrow_schema() if _is_text(field.type)]
        with parquet.ParquetFile(source, metadata=metadata, read_dictionary=texts, page_checksum_verification=True) as file:
            return in_own_types(file.read())


_ENCODINGS = frozenset(
    {"PLAIN", "RLE", "PLAIN_DICTIONARY", "RLE_DICTIONARY", "BIT_PACKED", "BYTE_STREAM_SPLIT", "DELTA_BINARY_PACKED"}
)
"""Encodings of Parquet whose values take as much room as the file says, or repeat values that do. Others share beginnings."""


def header_of(schema: Any) -> Header:
    """The header in a `pyarrow.Schema`'s metadata. Raises TableFileError."""
    return Header.read(json.loads((schema.metadata or {}).get(_METADATA, b"null")))


def with_header(table: ArrowTable, header: Header) -> ArrowTable:
    """The table with that header in its metadata."""
    return table.replace_schema_metadata({_METADATA: canonical_json(header.model_dump(mode="json")).encode()})


def columns_of(rows: Sequence[Row]) -> ArrowTable:
    """Rows as an Arrow table of all columns."""
    pa = optional("pyarrow")
    types = _types()
    schema = pa.schema([pa.field(column.name, types[column.type], column.nullable) for column in COLUMNS])
    arrays = [pa.array([_write(column, row[column.name]) for row in rows], types[column.type]) for column in COLUMNS]
    return pa.Table.from_arrays(arrays, schema=schema)


def checked_schema(schema: Any) -> Header:
    """The header in the schema of a file, if its columns are ours, each once. Raises TableFileError."""
    header = header_of(schema)
    require_known(schema.names)
    require_unique(schema.names)
    for field in schema:
        if not _may_become(field.type, COLUMN_BY_NAME[field.name].type):
            raise TableFileError(f"column {field.name!r} holds {field.type}", hint="Export the table again.")
    return header


def require_size(found: int) -> None:
    """Raises TableFileError where the columns of a table would take more than the limit."""
    if found > limits.MAX_TABLE_BYTES:
        raise TableFileError(
            f"its columns take {found} bytes when decompressed; the limit is {limits.MAX_TABLE_BYTES}",
            hint="No table of this release is so large; use a file that `profiler-service export` wrote.",
        )


def in_own_types(table: ArrowTable) -> ArrowTable:
    """The table with every column in one chunk and of its own type, once it is known that it fits."""
    pa, pc = optional("pyarrow"), optional("pyarrow.compute")
    table.validate(full=True)
    size = 0
    for name in table.column_names:
        for chunk in table[name].chunks:
            if pa.types.is_dictionary(chunk.type):
                lengths = pc.binary_length(chunk.dictionary).cast(pa.int64())
                size += pc.sum(lengths.take(chunk.indices)).as_py() or 0
            else:
                size += chunk.get_total_buffer_size() if chunk.offset == 0 else chunk.nbytes
    require_size(size)
    types = _types()
    columns = [COLUMN_BY_NAME[name] for name in table.column_names]
    schema = pa.schema(
        [pa.field(column.name, types[column.type], column.nullable) for column in columns], metadata=table.schema.metadata
    )
    arrays = [_definite(table[column.name].cast(types[column.type]).combine_chunks()) for column in columns]
    return pa.Table.from_arrays(arrays, schema=schema)


def _definite(array: Any) -> Any:
    """The array with zeros where values are absent. A reader leaves there whatever its memory held, and a writer copies it."""
    pa = optional("pyarrow")
    if not array.null_count or not pa.types.is_primitive(array.type):
        return array
    plain = array.cast(pa.int64()) if pa.types.is_timestamp(array.type) else array
    absent = array.is_null().to_numpy(zero_copy_only=False)
    return pa.array(plain.fill_null(0).to_numpy(), mask=absent).cast(array.type)


def read_value(column: Column, value: Any) -> Any:
    """The value of a row, from what Arrow holds."""
    return json.loads(value) if column.type is ColumnType.JSON and value is not None else value


def _types() -> dict[ColumnType, Any]:
    pa = optional("pyarrow")
    return {
        ColumnType.TEXT: pa.string(),
        ColumnType.INTEGER: pa.int64(),
        ColumnType.FLOAT: pa.float64(),
        ColumnType.TIME: pa.timestamp("us", tz="UTC"),
        ColumnType.JSON: pa.string(),
    }


def _is_text(found: Any) -> bool:
    types = optional("pyarrow").types
    return bool(types.is_string(found) or types.is_large_string(found))


def _may_become(found: Any, wanted: ColumnType) -> bool:
    """Whether a column of that Arrow type is read as one of ours: flat types alone, which hold what their bytes say."""
    types = optional("pyarrow").types
    match wanted:
        case ColumnType.TEXT | ColumnType.JSON:
            fits = _is_text(found)
        case ColumnType.INTEGER:
            fits = types.is_integer(found)
        case ColumnType.FLOAT:
            fits = types.is_float32(found) or types.is_float64(found)
        case ColumnType.TIME:
            fits = types.is_timestamp(found) and found.tz is not None
    return bool(fits or types.is_null(found))


def _is_compressed(metadata: bytes) -> bool:
    """Whether the record batch that a message's metadata describes has compressed buffers, of which Arrow would trust any size.

    Source: format/Message.fbs of Apache Arrow, read as FlatBuffers lay tables out: a table begins with the distance back to its
    list of fields, which gives the place of each, or 0. `header` is the third field of a message, `compression` the fourth of a
    record batch.
    """
    (message,) = struct.unpack_from("<I", metadata)
    header = _place(metadata, message, 2)
    if header is None:
        raise TableFileError("a part of it has no header", hint="Export or copy it again.")
    (distance,) = struct.unpack_from("<I", metadata, header)
    return _place(metadata, header + distance, 3) is not None


def _place(metadata: bytes, table: int, field: int) -> int | None:
    """Where a FlatBuffers table has that field; None where it has not."""
    (back,) = struct.unpack_from("<i", metadata, table)
    (size,) = struct.unpack_from("<H", metadata, table - back)
    slot = 4 + 2 * field
    if slot >= size:
        return None
    (offset,) = struct.unpack_from("<H", metadata, table - back + slot)
    return table + offset if offset else None


def _write(column: Column, row_value: Any) -> Any:
    return canonical_json(row_value) if column.type is ColumnType.JSON and row_value is not None else row_value
