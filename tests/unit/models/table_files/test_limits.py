"""Files that are small and would become large, and tables that name a row twice."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from models.spec import limits
from models.spec.errors import TableFileError
from models.spec.table_files import TableColumns, TableFormat, from_bytes, read_columns, to_bytes, write_table
from models.spec.table_files.arrow_formats import ParquetCodec, columns_of, with_header
from models.spec.table_files.codec import Header, to_row
from models.spec.table_files.parquet_pages import decompressed_bytes
from models.spec.tables import Table
from tests.support import table_samples as samples

ROWS = 2_000
LONG = "x" * 3_000_000
"""With `ROWS` rows that share it, 6 GB."""


def columns(rows: int = 1) -> pa.Table:
    """The columns of a table that many rows long, each the same."""
    row = to_row(samples.measurement())
    return with_header(columns_of([row] * rows), Header(count=rows, info=samples.info()))


def replaced(table: pa.Table, name: str, array: pa.Array) -> pa.Table:
    """The table with that column instead."""
    index = table.column_names.index(name)
    return table.set_column(index, pa.field(name, array.type), array)


def stream(table: pa.Table, **options: object) -> bytes:
    """As an Arrow stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def parquet(table: pa.Table, **options: object) -> bytes:
    """As a Parquet file."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", **options)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def refusal(data: bytes, file_format: TableFormat) -> str:
    """Why the bytes are refused, as records and as columns alike."""
    with pytest.raises(TableFileError) as first:
        from_bytes(data, file_format)
    with pytest.raises(TableFileError) as second:
        TableColumns.from_bytes(data, file_format)
    assert first.value.message == second.value.message
    assert first.value.hint
    return first.value.message


def repeated() -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array([0] * ROWS, pa.int32()), pa.array([LONG]))


@pytest.mark.parametrize("codec", ["zstd", "lz4"])
def test_a_compressed_arrow_stream_is_refused_unread(codec: str) -> None:
    table = replaced(columns(), "message", pa.array([LONG]))
    data = stream(table, compression=codec)
    assert len(data) < 100_000
    assert "compressed or foreign part" in refusal(data, TableFormat.ARROW)


def test_an_arrow_stream_that_repeats_one_text_is_refused() -> None:
    assert "column 'message' holds dictionary" in refusal(
        stream(replaced(columns(ROWS), "message", repeated())), TableFormat.ARROW
    )


def test_a_parquet_file_that_repeats_one_text_is_refused_unread() -> None:
    data = parquet(replaced(columns(ROWS), "message", repeated()))
    assert len(data) < 1_000_000
    assert "column 'message' holds dictionary" in refusal(data, TableFormat.PARQUET)
    # A writer that does not record the type of a dictionary leaves a column of texts.
    schema_of_texts = columns(ROWS).schema
    plain = data.replace(b"ARROW:schema", b"ARROW:SCHEMA")
    assert pq.read_schema(pa.BufferReader(plain)).field("message").type == schema_of_texts.field("message").type
    message = refusal(plain, TableFormat.PARQUET)
    assert str(limits.MAX_TABLE_BYTES) in message
    assert "when decompressed" in message


def test_parquet_texts_that_share_beginnings_are_refused() -> None:
    data = parquet(columns(), use_dictionary=False, column_encoding={"message": "DELTA_BYTE_ARRAY"})
    assert "column 'message' is encoded as DELTA_BYTE_ARRAY" in refusal(data, TableFormat.PARQUET)


def test_a_parquet_file_whose_pages_say_more_than_its_footer_is_refused_unread() -> None:
    texts = [LONG[: 1_100_000 + number] for number in range(8)]
    data = parquet(replaced(columns(8), "message", pa.array(texts)), use_dictionary=False, write_batch_size=1)
    size_of_page = re.compile(rb"(?<=\x15\x00\x15)[\x80-\xff]{3}[\x00-\x7f](?=\x15)")  # after a data page's type
    lying, pages = size_of_page.subn(b"\xfe\xff\xff\x7f", data)  # 128 MiB, as a zigzag varint of four bytes
    assert pages == 8
    assert pq.read_metadata(pa.BufferReader(lying)) == pq.read_metadata(pa.BufferReader(data))
    assert ParquetCodec().read(data).num_rows == 8
    message = refusal(lying, TableFormat.PARQUET)
    found = re.search(r"columns take (\d+) bytes when decompressed", message)
    assert found, message
    assert int(found[1]) > 8 * (2**27 - 1)


def distinct(rows: int = 1_000) -> pa.Table:
    """A table in which each row has a message of its own, so that its dictionary is as long."""
    return replaced(columns(rows), "message", pa.array([f"message {number}" for number in range(rows)]))


@pytest.mark.parametrize(
    ("pattern", "lie", "why"),
    [
        (rb"(?<=\x4c\x15)\xd0\x0f(?=\x15)", b"\xfe\x7f", "a dictionary of 8191 values"),
        (rb"(?<=\x2c\x15)\xd0\x0f(?=\x15\x10)", b"\xfe\x7f", "pages hold 8191 values, but there are 1000 rows"),
        (rb"(?<=\x2c\x15\xd0\x0f\x15)\x10(?=\x15)", b"\x0e", "a page of encoding 7"),
    ],
)
def test_parquet_pages_that_contradict_the_footer_are_refused(pattern: bytes, lie: bytes, why: str) -> None:
    data = parquet(distinct(), write_statistics=False)
    lying, lies = re.subn(pattern, lie, data)
    assert lies
    assert why in refusal(lying, TableFormat.PARQUET)


@pytest.mark.parametrize("options", [{}, {"data_page_version": "2.0"}, {"row_group_size": 300}, {"data_page_size": 100}])
def test_parquet_files_of_other_writers_have_such_pages_too(options: dict[str, Any]) -> None:
    data = parquet(distinct(), use_dictionary=["message"], **options)
    source = pq.read_metadata(pa.BufferReader(data))
    groups = [source.row_group(number) for number in range(source.num_row_groups)]
    for group in groups:
        for chunk in map(group.column, range(source.num_columns)):
            assert 0 < decompressed_bytes(data, chunk, group.num_rows) <= chunk.total_uncompressed_size


@pytest.mark.parametrize("file_format", [TableFormat.ARROW, TableFormat.PARQUET])
def test_the_limit_is_on_what_columns_take(file_format: TableFormat, monkeypatch: pytest.MonkeyPatch) -> None:
    data = to_bytes(samples.table(), file_format)
    monkeypatch.setattr(limits, "MAX_TABLE_BYTES", 100)
    assert "the limit is 100" in refusal(data, file_format)


@pytest.mark.parametrize("file_format", [TableFormat.ARROW, TableFormat.PARQUET])
def test_more_rows_than_announced_are_not_read(file_format: TableFormat) -> None:
    table = columns(50).replace_schema_metadata(columns(3).schema.metadata)
    data = stream(table) if file_format is TableFormat.ARROW else parquet(table)
    assert "says 3 rows, but holds 50" in refusal(data, file_format)


def test_parts_without_rows_have_an_end() -> None:
    table = columns(2)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        for _ in range(4):
            writer.write_table(table.slice(0, 0))
            writer.write_batch(pa.RecordBatch.from_pylist([], schema=table.schema))
    assert "says 2 rows" in refusal(sink.getvalue().to_pybytes(), TableFormat.ARROW)


def test_a_column_twice_is_refused() -> None:
    table = columns()
    table = table.append_column(table.schema.field("message"), table["message"])
    assert "column 'message' occurs 2 times" in refusal(stream(table), TableFormat.ARROW)
    data = to_bytes(samples.table(), TableFormat.CSV).replace(b"key,label,", b"key,key,", 1)
    with pytest.raises(TableFileError, match="column 'key' occurs 2 times"):
        from_bytes(data)


@pytest.mark.parametrize("file_format", [TableFormat.ARROW, TableFormat.PARQUET])
def test_a_key_twice_is_named_by_its_rows(file_format: TableFormat) -> None:
    one, other = samples.measurement(samples.operator(8)), samples.measurement(samples.operator(9))
    rows = [to_row(entry) for entry in (one, other, one)]
    table = with_header(columns_of(rows), Header(count=3, info=samples.info()))
    data = stream(table) if file_format is TableFormat.ARROW else parquet(table)
    message = refusal(data, file_format)
    assert message == f"table: rows 1 and 3 are two entries for {one.workload.label()} (key {one.key()})"


def test_a_bad_value_is_named_by_its_row() -> None:
    document = json.loads(to_bytes(samples.table(), TableFormat.JSON))
    document["entries"][2]["stderr_ms"] = -1.0
    with pytest.raises(TableFileError, match=r"^F: row 3: Measurement\.stderr_ms: .*greater than or equal to 0"):
        from_bytes(json.dumps(document).encode(), source="F")


@pytest.mark.parametrize("file_format", list(TableFormat))
def test_a_file_is_read_as_columns_where_it_has_them(file_format: TableFormat, tmp_path: Path) -> None:
    write_table(samples.table(), tmp_path / "t", file_format)
    found = read_columns(tmp_path / "t")
    columnar = file_format in (TableFormat.ARROW, TableFormat.PARQUET)
    assert isinstance(found, TableColumns) is columnar
    assert (found.table if isinstance(found, TableColumns) else found) == samples.table()


@pytest.mark.parametrize("rows", [0, 3])
def test_columns_in_another_order_or_absent_are_written_as_ever(rows: int) -> None:
    table = samples.table(rows) if rows else Table(info=samples.info())
    whole = columns_of([to_row(entry) for entry in table.entries])
    fewer = whole.select([name for name in reversed(whole.column_names) if name not in ("flags", "power_w", "label")])
    header = Header(count=len(table.entries), info=table.info)
    found = TableColumns.from_bytes(stream(with_header(fewer, header)))
    bare = Table(info=table.info, entries=tuple(entry.model_copy(update={"flags": ()}) for entry in table.entries))
    assert found.table == bare
    assert found.to_bytes(TableFormat.ARROW) == to_bytes(bare, TableFormat.ARROW)
    assert found.to_bytes(TableFormat.CSV) == to_bytes(bare, TableFormat.CSV)
