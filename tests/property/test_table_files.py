"""What must hold of table files for all tables and all damage."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.spec.errors import TableFileError
from models.spec.table_files import TableFormat, from_bytes, table_etag, to_bytes
from models.spec.tables import Table
from tests.support import table_samples as samples

every_format = pytest.mark.parametrize("file_format", list(TableFormat))


@every_format
@given(table=samples.tables)
def test_every_field_survives_bit_for_bit(file_format: TableFormat, table: Table) -> None:
    data = to_bytes(table, file_format)
    back = from_bytes(data)
    assert back == table
    # Equality takes 0.0 and −0.0 for the same; the tag and the bytes are made from the digits.
    assert table_etag(back) == table_etag(table)
    assert to_bytes(back, file_format) == data


@every_format
@given(table=samples.tables, share=st.floats(0, 1, exclude_max=True))
def test_a_file_cut_anywhere_is_refused(file_format: TableFormat, table: Table, share: float) -> None:
    data = to_bytes(table, file_format)
    with pytest.raises(TableFileError) as caught:
        from_bytes(data[: int(share * len(data))])
    assert caught.value.hint


@every_format
@given(data=st.data())
def test_damage_is_refused_or_harmless_never_another_error(file_format: TableFormat, data: st.DataObject) -> None:
    damaged = bytearray(to_bytes(samples.table(), file_format))
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        table = from_bytes(bytes(damaged))
    except TableFileError:
        return
    assert len(table.entries) == len(samples.table().entries)


@given(data=st.binary(max_size=200))
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(TableFileError):
        from_bytes(data)


@given(table=samples.tables, seed=st.integers(0, 100))
def test_the_tag_does_not_depend_on_the_order_of_storage(table: Table, seed: int) -> None:
    entries = list(table.entries)
    random.Random(seed).shuffle(entries)
    assert table_etag(Table(info=table.info, entries=tuple(entries))) == table_etag(table)


@given(table=samples.tables.filter(lambda table: table.entries))
def test_the_tag_changes_with_any_content(table: Table) -> None:
    first, *others = table.entries
    other_host = table.info.model_copy(update={"provenance": {"host": "no text drawn here is this long"}})
    slower = first.model_copy(update={"plain_ms": 1.5 if first.plain_ms != 1.5 else 2.5})
    changed = [
        Table(info=table.info, entries=tuple(others)),
        Table(info=table.info, entries=(slower, *others)),
        Table(info=other_host, entries=table.entries),
    ]
    assert len({table_etag(each) for each in (table, *changed)}) == 4
