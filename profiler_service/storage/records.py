"""Records as text and back, and the one way to select by many keys."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TypeVar

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import InstrumentedAttribute

from models.spec.base import Record
from models.spec.errors import InvalidSpecError
from profiler_service.errors import StorageError

R = TypeVar("R", bound=Record)


def load(cls: type[R], text: str, where: str) -> R:
    """The record in that text. Raises StorageError, which names `where` it was stored, if it is not valid (any more)."""
    try:
        return cls.parse_json(text, source=where)
    except InvalidSpecError as error:
        raise StorageError(
            f"the database holds something this release cannot read: {error}",
            hint="Restore the database from a copy, or measure into a new one with --database.",
        ) from error


def among(column: InstrumentedAttribute[str], keys: Iterable[str]) -> ColumnElement[bool]:
    """Whether the column is one of the keys. They travel as one parameter, since SQLite limits how many there may be."""
    values = func.json_each(json.dumps(list(keys))).table_valued("value")
    return column.in_(select(values.c.value))
