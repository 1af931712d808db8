"""Run by Alembic, on the connection of `profiler_service.storage.upgrade` and inside its transaction."""

from __future__ import annotations

from typing import Literal

from alembic import context
from alembic.autogenerate.api import AutogenContext

from profiler_service.storage.schema import Base, UtcDateTime


def render_item(_kind: str, item: object, _context: AutogenContext) -> str | Literal[False]:
    """Migrations say what is in the file, and so outlive the types that read it."""
    return "sa.DateTime()" if isinstance(item, UtcDateTime) else False


# SQLite cannot alter most things in place; batch mode rebuilds the table.
context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,
    render_item=render_item,
)
context.run_migrations()
