"""Stored measurements as columns: a table of 100,000 rows is read without a record for each of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pydantic_core import from_json

from models.spec.base import canonical_json
from models.spec.errors import OpclockError
from models.spec.measurements import Measurement
from models.spec.operators import OperatorSpec
from models.spec.table_files.arrow_formats import ArrowTable, columns_of
from models.spec.table_files.codec import COLUMNS, Column, ColumnType, optional, to_row
from models.spec.table_files.columns import TableColumns
from models.spec.tables import Table, TableInfo

_AT_ONCE = 5_000
"""Records that are Python objects at one time."""

_UNREADABLE = (ValueError, TypeError, KeyError, AttributeError, OverflowError, NotImplementedError, OpclockError)
"""What JSON, Arrow and our own code raise for a text that is not what this release writes."""

_DEFAULTS = {
    name: () if name == "flags" else field.default
    for name, field in Measurement.model_fields.items()
    if not field.is_required()
}


def table_columns(info: TableInfo, keys: Sequence[str], texts: Sequence[str], table_of: Callable[[], Table]) -> TableColumns:
    """The table of those records as columns, which are held to the same checks as records.

    Args:
        info: of the table.
        keys: of the operators, as they are stored.
        texts: records of their measurements (`record_text`), in the same order.
        table_of: the same table of records; called where some text cannot be read as it stands, as one of an earlier release.

    Raises:
        StorageError: what `table_of` raises.
    """
    pa = optional("pyarrow")
    texts_of = _JsonTexts()
    try:
        parts = [
            _part(keys[start : start + _AT_ONCE], texts[start : start + _AT_ONCE], texts_of)
            for start in range(0, len(texts), _AT_ONCE)
        ]
        return TableColumns(info, pa.concat_tables(parts).combine_chunks() if parts else columns_of([]))
    except _UNREADABLE:  # records say what is wrong
        return TableColumns(info, columns_of([to_row(entry) for entry in table_of().entries]))


def _part(keys: Sequence[str], texts: Sequence[str], texts_of: _JsonTexts) -> ArrowTable:
    pa = optional("pyarrow")
    entries = from_json(f"[{','.join(texts)}]", cache_strings="all")
    operators = [entry["workload"] for entry in entries]
    present = set[str]().union(*entries)
    strange = (present - Measurement.model_fields.keys()) | (set[str]().union(*operators) - OperatorSpec.model_fields.keys())
    if strange:
        raise ValueError(f"unknown fields {', '.join(sorted(strange))}")
    types = columns_of([]).schema
    arrays = []
    for column in COLUMNS:
        name, kind = column.name, types.field(column.name).type
        if name == "key":
            values: list[Any] = list(keys)
        elif name in OperatorSpec.model_fields:
            values = [operator[name] for operator in operators]
        elif name in present:
            default = _DEFAULTS.get(name)
            values = [entry.get(name, default) for entry in entries]
        else:  # the same in every row; labels are written anew from the operators
            value = "" if name == "label" else _DEFAULTS.get(name)
            array = _array(column, [value], kind, texts_of)
            arrays.append(pa.nulls(len(entries), kind) if value is None else pa.repeat(array[0], len(entries)))
            continue
        arrays.append(_array(column, values, kind, texts_of))
    return pa.Table.from_arrays(arrays, schema=types)


def _array(column: Column, values: list[Any], kind: Any, texts_of: _JsonTexts) -> Any:
    pa = optional("pyarrow")
    if column.type is ColumnType.JSON:
        return pa.array([None if value is None else texts_of(value) for value in values], kind)
    if column.type is ColumnType.TIME:
        return pa.array(values, pa.string()).cast(kind)
    return pa.array(values, kind)


class _JsonTexts:
    """Canonical JSON of values of which few differ."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    def __call__(self, value: Any) -> str:
        name = repr(value)
        text = self._known.get(name)
        if text is None:
            text = self._known[name] = canonical_json(value)
        return text
