"""What SQLite and PostgreSQL write differently."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from sqlalchemy import ColumnElement, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import DeclarativeBase, InstrumentedAttribute, Session
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement


def insert(session: Session, table: type[DeclarativeBase]) -> sqlite.Insert | postgresql.Insert:
    """An INSERT that can say what happens on conflict."""
    return postgresql.insert(table) if session.get_bind().dialect.name == "postgresql" else sqlite.insert(table)


def among(column: InstrumentedAttribute[str], keys: Iterable[str]) -> ColumnElement[bool]:
    """Whether the column is one of the keys. They travel as one parameter, since statements may have only so many."""
    values = _Elements(json.dumps(list(keys))).table_valued("value")
    return column.in_(select(values.c.value))


class _Elements(FunctionElement[str]):
    """The elements of a JSON array of texts, as rows of one column `value`."""

    name = "elements"
    inherit_cache = True


@compiles(_Elements, "sqlite")
def _in_sqlite(elements: _Elements, compiler: SQLCompiler, **options: Any) -> str:
    return f"json_each({compiler.process(elements.clauses, **options)})"


@compiles(_Elements, "postgresql")
def _in_postgresql(elements: _Elements, compiler: SQLCompiler, **options: Any) -> str:
    return f"json_array_elements_text(CAST({compiler.process(elements.clauses, **options)} AS JSON))"
