"""The one list of a row's columns, and measurements as rows: every format writes and reads these.

The columns follow from the models: an operator's fields, one column for a workload that is an architecture, and a
measurement's other fields. `label` is there for people and is not read back.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from models.spec.base import Record
from models.spec.errors import TableFileError
from models.spec.measurements import Measurement
from models.spec.operators import OperatorSpec

Row = Mapping[str, Any]
"""Column name to value, of the Python type that the column's type names; None where there is nothing."""


class ColumnType(Enum):
    """What a column holds, and so what each format stores it as."""

    TEXT = auto()
    """str; never empty in a nullable column, so that formats without nulls can leave it empty."""
    INTEGER = auto()
    """int of at most 53 bits."""
    FLOAT = auto()
    """float, finite."""
    TIME = auto()
    """datetime in UTC, to the microsecond."""
    JSON = auto()
    """A list or a dictionary; formats without them store its JSON text."""


@dataclass(frozen=True)
class Column:
    """One column of every table file."""

    name: str
    type: ColumnType
    nullable: bool


_TYPES = {"string": ColumnType.TEXT, "integer": ColumnType.INTEGER, "number": ColumnType.FLOAT}
_NULL = {"type": "null"}


def _columns_of(model: type[Record], *, without: str = "", optional: bool = False) -> Iterator[Column]:
    """One column per field of the model, as its JSON schema describes it."""
    schema = model.model_json_schema()
    for name, field in schema["properties"].items():
        if name == without:
            continue
        variants = field.get("anyOf", [field])
        found = next(variant for variant in variants if variant != _NULL)
        if "$ref" in found:
            found = schema["$defs"][found["$ref"].rpartition("/")[2]]
        column_type = _TYPES.get(found["type"], ColumnType.JSON)
        if found.get("format") == "date-time":
            column_type = ColumnType.TIME
        yield Column(name, column_type, nullable=optional or _NULL in variants)


_OPERATOR = tuple(_columns_of(OperatorSpec, optional=True))
_MEASUREMENT = tuple(_columns_of(Measurement, without="workload"))

COLUMNS: tuple[Column, ...] = (
    Column("key", ColumnType.TEXT, nullable=False),
    Column("label", ColumnType.TEXT, nullable=False),
    *_OPERATOR,
    Column("architecture", ColumnType.JSON, nullable=True),
    *_MEASUREMENT,
)
COLUMN_BY_NAME: Mapping[str, Column] = {column.name: column for column in COLUMNS}


def to_row(measurement: Measurement) -> Row:
    """The measurement as one row, with a value or None for every column."""
    workload = measurement.workload
    plain = workload.model_dump(mode="json")
    return (
        dict.fromkeys(COLUMN_BY_NAME)
        | {"key": workload.key(), "label": workload.label()}
        | (plain if isinstance(workload, OperatorSpec) else {"architecture": plain})
        | measurement.model_dump(exclude={"workload"})
    )


def from_row(row: Row) -> Measurement:
    """The measurement in a row; columns that it lacks, as an older file does, take their defaults.

    Raises:
        TableFileError: a column is unknown, or the key is not the workload's.
        InvalidSpecError: a value is out of bounds.
    """
    require_known(row)
    operator = _given(row, _OPERATOR)
    measurement = Measurement.parse(_given(row, _MEASUREMENT) | {"workload": row.get("architecture") or operator})
    if measurement.key() != row.get("key"):
        raise TableFileError(
            f"the key of {measurement.workload.label()} is {measurement.key()}, but the file says {row.get('key')}",
            hint="The file was edited, or written by a release that names operators otherwise; export the table again.",
        )
    return measurement


def require_known(names: Iterable[str]) -> None:
    """Raises TableFileError unless these are all names of columns."""
    for name in names:
        if name not in COLUMN_BY_NAME:
            raise TableFileError(f"unknown column {name!r}", hint="Remove what was added to the file, or export it again.")


def _given(row: Row, columns: Iterable[Column]) -> dict[str, Any]:
    return {column.name: row[column.name] for column in columns if row.get(column.name) is not None}
