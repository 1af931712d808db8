"""Columns accept, refuse and say the same as records do, for all tables and for any single cell that is changed."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.spec import limits
from models.spec.errors import TableFileError
from models.spec.measurements import Flag, Status
from models.spec.operators import OperatorSpec
from models.spec.table_files import TableColumns, TableFormat, from_bytes, to_bytes
from models.spec.table_files.arrow_formats import ArrowCodec, columns_of, with_header
from models.spec.table_files.codec import COLUMNS, Column, ColumnType, Header, to_row
from models.spec.table_files.row_rules import certain_rows
from models.spec.tables import Table
from models.spec.verdicts import Verdict, entry_reasons, scale_reasons, table_verdict
from tests.support import table_samples as samples

COLUMNAR = [TableFormat.ARROW, TableFormat.PARQUET]

VALUES: dict[ColumnType, list[Any]] = {
    ColumnType.TEXT: [None, "", "skip", "conv_bn_relu", "float16", "float8", "ok", "crashed", "no such", "a\0b", "x" * 4_001],
    ColumnType.INTEGER: [None, -1, 0, 1, 2, 3, 8, 9, 256, 257, 16_384, 16_385, limits.MAX_COUNT, limits.MAX_COUNT + 1],
    ColumnType.FLOAT: [None, -1.0, -0.0, 0.0, 1e300, float("nan"), float("inf")],
    ColumnType.TIME: [
        None,
        -62_135_596_800_000_001,
        -62_135_596_800_000_000,
        0,
        253_402_300_799_999_999,
        253_402_300_800_000_000,
    ],
    ColumnType.JSON: [
        *(None, "null", "{", "{}", "[]", "[1]", '["unconverged"]', '["unconverged","unconverged"]', '["fast"]', '{"kernel":3}'),
        *('{"align_corners":true,"resize":"bilinear"}', '{"resize": "nearest"}', '{"resize":1}', '{"groups":3}', "7"),
    ],
}


def read(data: bytes) -> tuple[Table | None, str]:
    """As records: the table, or why there is none."""
    try:
        return from_bytes(data, TableFormat.ARROW), ""
    except TableFileError as error:
        return None, error.message


@pytest.mark.parametrize("file_format", COLUMNAR)
@settings(max_examples=30)
@given(table=samples.tables)
def test_columns_say_what_the_records_say(file_format: TableFormat, table: Table) -> None:
    data = to_bytes(table, file_format)
    columns = TableColumns.from_bytes(data, file_format)
    assert columns.table == table
    assert columns.values_ms() == table.values_ms()
    assert len(columns) == len(table.entries)
    assert all(columns.entry(entry.key()) == entry for entry in table.entries)
    assert columns.entry("0123456789abcdef") is None
    assert Verdict.of([*scale_reasons(table.info), *entry_reasons(columns.qualities())]) == table_verdict(table)
    again = from_bytes(data, file_format)
    for written in set(TableFormat) - {TableFormat.JSON}:
        assert columns.to_bytes(written) == to_bytes(again, written)
    assert from_bytes(columns.to_bytes(TableFormat.JSON)) == again


@given(data=st.data(), table=samples.tables.filter(lambda table: len(table.entries) > 1))
def test_a_changed_cell_has_the_same_end(data: st.DataObject, table: Table) -> None:
    column: Column = data.draw(st.sampled_from([column for column in COLUMNS if column.name != "label"]))
    value = data.draw(st.sampled_from(VALUES[column.type]))
    row = data.draw(st.integers(0, len(table.entries) - 1))
    columns = columns_of([to_row(entry) for entry in table.entries])
    index = columns.column_names.index(column.name)
    cells = columns[column.name].cast(pa.int64() if column.type is ColumnType.TIME else columns.schema.field(index).type)
    changed = [value if number == row else cell for number, cell in enumerate(cells.to_pylist())]
    array = pa.array(changed, cells.type).cast(columns.schema.field(index).type)
    loose = pa.schema([field.with_nullable(True) for field in columns.schema])
    columns = pa.Table.from_arrays([*columns.columns[:index], array, *columns.columns[index + 1 :]], schema=loose)
    encoded = ArrowCodec().write(with_header(columns, Header(count=len(table.entries), info=table.info)))
    records, refusal = read(encoded)
    if records is None:
        with pytest.raises(TableFileError) as caught:
            TableColumns.from_bytes(encoded)
        assert (caught.value.message == refusal) or "row" not in refusal
    else:
        found = TableColumns.from_bytes(encoded)
        assert found.table == records
        assert found.to_bytes(TableFormat.ARROW) == to_bytes(records, TableFormat.ARROW)


@given(operator=samples.operators)
def test_an_operator_knows_keys_and_labels_of_its_like(operator: OperatorSpec) -> None:
    out_channels = 12 if operator.in_channels == operator.out_channels else operator.out_channels
    changes = {"in_channels": 12, "out_channels": out_channels, "height": 7, "width": 1_001}
    other = OperatorSpec.parse(operator.model_dump() | changes)
    shape = (other.in_channels, other.out_channels, other.height, other.width)
    assert list(operator.identities([shape])) == [(other.key(), other.label())]


def test_ordinary_rows_make_no_record() -> None:
    """Without this, tables of 100,000 rows would be as slow as they were, and no other test would notice."""
    statuses = [samples.failure(samples.operator(200 + index), status) for index, status in enumerate(Status) if index]
    kinds = [
        samples.operator(16, kind="conv_bn_relu", in_channels=16, attributes={"kernel": 1, "groups": 4}, dtype="float16"),
        samples.operator(8, kind="feature_fusion", in_channels=8, batch=2),
        samples.operator(19, kind="upsample", in_channels=19),
        samples.operator(8, kind="skip", stride=2),
    ]
    table = samples.table(40)
    entries = (*table.entries, *statuses, *(samples.measurement(kind, flags=tuple(Flag)) for kind in kinds))
    rows = columns_of([to_row(entry) for entry in Table(info=table.info, entries=entries).entries])
    assert certain_rows(rows).rows.all()
