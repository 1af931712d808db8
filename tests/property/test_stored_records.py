"""What is made of stored records without reading each says the same as the records."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.spec.measurements import Measurement
from models.spec.operators import OperatorSpec
from models.spec.table_files.columns import TableColumns
from models.spec.table_files.table_io import record_text
from models.spec.tables import Table
from models.spec.wire import LookupResponse
from profiler_service.api.lookups import answer
from profiler_service.errors import StorageError
from profiler_service.storage.table_columns import table_columns
from profiler_service.storage.table_rows import Records
from tests.support import table_samples as samples


def stored(entries: list[Measurement]) -> Records:
    """As a database has them, in no order."""
    return Records(
        samples.info(), "tag", tuple(entry.key() for entry in entries), tuple(record_text(entry) for entry in entries)
    )


@given(st.lists(samples.measurements(), max_size=4, unique_by=Measurement.key))
def test_columns_of_stored_records(entries: list[Measurement]) -> None:
    operators = [entry for entry in entries if isinstance(entry.workload, OperatorSpec)]
    records = stored(operators)
    assert records.columns().table == records.table() == Table(info=samples.info(), entries=tuple(operators))


@given(st.lists(samples.measurements(), max_size=4, unique_by=Measurement.key))
def test_answers_of_stored_records(entries: list[Measurement]) -> None:
    missing = samples.operator(4_000)
    texts = {entry.key(): record_text(entry) for entry in entries}
    said = answer("a", [*(entry.workload for entry in entries), missing], texts)
    expected = LookupResponse(table_id="a", results=(*entries, None))
    assert json.loads(said) == json.loads(expected.model_dump_json())


OF_AN_EARLIER_RELEASE = '{"value_ms":0.5,"workload":{"kind":"conv3x3","in_channels":8,"out_channels":8,"height":4,"width":4}}'


def test_records_that_lack_what_this_release_writes_are_completed() -> None:
    entry = Measurement.parse_json(OF_AN_EARLIER_RELEASE)
    records = Records(samples.info(), "tag", (entry.key(),), (OF_AN_EARLIER_RELEASE,))
    assert records.columns().table.entries == (entry,)
    said = json.loads(answer("a", [entry.workload], {entry.key(): OF_AN_EARLIER_RELEASE}))
    assert said["results"] == [entry.model_dump(mode="json")]


STRANGE = record_text(samples.measurement()).replace('"zoomed_conv3x3"', '"of_a_plugin_that_is_not_here"')


WHOLE = record_text(samples.measurement())
DAMAGED = [
    WHOLE.replace('"samples":0', f'"samples":{10**30}'),
    WHOLE.replace('"value_ms":0.25', '"value_ms":"x"'),
    WHOLE.replace('"value_ms":0.25', '"value_ms":null'),
    WHOLE.replace('"status":"ok"', '"status":"lost"'),
    WHOLE.replace('"height":16', '"height":"tall"'),
]


@pytest.mark.parametrize("text", ["{", "[]", '{"value_ms":-1.0,"workload":{}}', STRANGE, *DAMAGED])
def test_damaged_records_are_refused_by_name(text: str) -> None:
    operator = samples.operator()
    with pytest.raises(StorageError, match="the database holds something this release cannot read"):
        Records(samples.info(), "tag", (operator.key(),), (text,)).columns()
    if text != STRANGE:  # whose operator is another one, for which nobody here can ask
        with pytest.raises(StorageError, match=operator.key()):
            answer("a", [operator], {operator.key(): text})


def test_columns_are_made_without_a_record_for_each() -> None:
    """Else nothing would be gained: what is called for only where a text is unusual must not be called here."""
    records = stored([samples.measurement(samples.operator(8 * number)) for number in range(1, 9)])

    def refuse() -> Table:
        raise AssertionError("the records were read")

    found: TableColumns = table_columns(records.info, records.keys, records.texts, refuse)
    assert len(found) == 8
