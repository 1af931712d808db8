"""What every table file holds, whatever its format: a header, then one row per measurement with one list of columns.

The columns follow from the models: an operator's fields, one column for a workload that is an architecture, and a
measurement's other fields. `label` is for people and is not read back. Each format is a `TableCodec`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from importlib import import_module
from types import ModuleType
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field

from models.spec import limits
from models.spec.base import Record
from models.spec.errors import InvalidSpecError, TableFileError
from models.spec.flat_architectures import FlatArchitecture, is_flat
from models.spec.measurements import Measurement, Workload
from models.spec.operators import OperatorSpec
from models.spec.tables import TableInfo

FILE_VERSION = 4
"""Raised when a column is added or comes to mean something else. Files of every earlier version stay readable."""

MARK = "opclock_table"
"""Name of the field that makes a JSON document one of ours; it holds the version."""


class Header(Record):
    """The header of a table file.

    Attributes:
        opclock_table: version of the file.
        count: how many rows there are, so that a file cut short is never taken for a shorter table.
        info: the table's identity and provenance.
    """

    opclock_table: int = FILE_VERSION
    count: Annotated[int, Field(ge=0, le=limits.MAX_TABLE_ENTRIES)]
    info: TableInfo

    @classmethod
    def read(cls, document: Any) -> Self:
        """The header in a parsed JSON document.

        Raises:
            TableFileError: it is none of ours, or of a later version.
            InvalidSpecError: a field is out of bounds.
        """
        version = document.get(MARK) if isinstance(document, dict) else None
        if type(version) is not int:
            raise TableFileError("it is not a table of opclock's", hint="Use a file that `profiler-service export` wrote.")
        if version > FILE_VERSION:
            raise TableFileError(
                f"its version {version} is newer than this release reads ({FILE_VERSION})", hint="Upgrade opclock."
            )
        return cls.parse(document)

    def require_count(self, found: int) -> None:
        """Raises TableFileError unless the file holds as many rows as its header says."""
        if found != self.count:
            raise TableFileError(
                f"it says {self.count} rows, but holds {found}: it was cut short or edited", hint="Export or copy it again."
            )


Row = Mapping[str, Any]
"""Column name to value, of the Python type that the column's type names; None where there is nothing."""


class ColumnType(Enum):
    """Type of a column's values."""

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
    if not _is_of(measurement.workload, row):
        raise TableFileError(
            f"the key of {measurement.workload.label()} is {measurement.key()}, but the file says {row.get('key')}",
            hint="The file was edited, or written by a release that names operators otherwise; export the table again.",
        )
    return measurement


def _is_of(workload: Workload, row: Row) -> bool:
    """Whether the row's key is the workload's: for an architecture of a file of version 3 or earlier, its key of then."""
    key, architecture = row.get("key"), row.get("architecture")
    return key == workload.key() or (is_flat(architecture) and key == FlatArchitecture.parse(architecture).key())


def from_rows(rows: Iterable[Row]) -> tuple[Measurement, ...]:
    """The measurements in the rows of one table.

    Raises:
        TableFileError: as `from_row`, naming the row, of which the first is 1; or two rows hold one key.
    """
    entries = []
    rows_of: dict[str, int] = {}
    for number, row in enumerate(rows, 1):
        entry = numbered(number, row)
        earlier = rows_of.setdefault(entry.key(), number)
        if earlier != number:
            raise twice(earlier, number, entry.workload.label(), entry.key())
        entries.append(entry)
    return tuple(entries)


def numbered(number: int, row: Row) -> Measurement:
    """As `from_row`; its errors name the row."""
    try:
        return from_row(row)
    except TableFileError as error:
        raise TableFileError(f"row {number}: {error.message}", hint=error.hint) from error
    except InvalidSpecError as error:
        raise TableFileError(
            f"row {number}: {error.message}", hint=f"Correct that row, or export the table again. {error.hint}".strip()
        ) from error


def twice(earlier: int, later: int, label: str, key: str) -> TableFileError:
    """Two rows hold the same operator."""
    return TableFileError(
        f"rows {earlier} and {later} are two entries for {label} (key {key})", hint="Remove one of them, or export it again."
    )


def require_known(names: Iterable[str]) -> None:
    """Raises TableFileError unless these are all names of columns."""
    for name in names:
        if name not in COLUMN_BY_NAME:
            raise TableFileError(f"unknown column {name!r}", hint="Remove what was added to the file, or export it again.")


def require_unique(names: Iterable[str]) -> None:
    """Raises TableFileError where two columns have one name."""
    counts = Counter(names)
    if twice := [name for name, count in counts.items() if count > 1]:
        raise TableFileError(f"column {twice[0]!r} occurs {counts[twice[0]]} times", hint="Export the table again.")


def _given(row: Row, columns: Iterable[Column]) -> dict[str, Any]:
    return {column.name: row[column.name] for column in columns if row.get(column.name) is not None}


PICKLE_HINT = (
    "If it is a published table, import it with the `profiler-service import-…` command of its search space, "
    "which admits plain numbers only; otherwise use a file that `profiler-service export` wrote."
)


class TableCodec(ABC):
    """One format. Stateless."""

    magic: ClassVar[bytes]
    """How its files begin, white space aside."""

    @abstractmethod
    def encode(self, header: Header, rows: Sequence[Row]) -> bytes:
        """The file's bytes; the same for the same input."""

    @abstractmethod
    def decode(self, data: bytes) -> tuple[Header, Sequence[Row]]:
        """Header and rows, of which the caller checks the number and validates each.

        Nothing in `data` is ever executed.

        Raises:
            TableFileError: the file is none of ours, or of a later version.
            Exception: whatever the format's library makes of a damaged file; the caller translates it.
        """


def optional(name: str) -> ModuleType:
    """A library that only some formats need. Raises TableFileError that names the extra."""
    try:
        return import_module(name)
    except ImportError as error:
        raise TableFileError(f"this format needs {name}", hint="Install it: pip install 'opclock[tables]'") from error
