"""What stands in front of the rows in every format: the file's version, how many rows follow, and the table's info."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import Field

from models.spec import limits
from models.spec.base import Record
from models.spec.errors import TableFileError
from models.spec.tables import TableInfo

FILE_VERSION = 3
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
