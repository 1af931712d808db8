"""What the pages of one service share; made with the application."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request

from profiler_service.api.access import TokenBook
from profiler_service.api.sessions import SessionBook
from profiler_service.comparison import TableComparison
from profiler_service.logs import JobLog
from profiler_service.storage.store import Store
from profiler_service.web.kept import Kept
from profiler_service.web.live import LiveCounts
from profiler_service.web.rendering import Pages
from profiler_service.web.table_views import TableView

MOST_ROWS = 300_000
"""Entries of all tables that are kept as rows: some hundred bytes each."""

MOST_TEXT = 4 * 2**20
"""Characters of all parts of pages that are kept."""


@dataclass(frozen=True)
class Web:
    """The parts.

    Attributes:
        tables: views by table.
        comparisons: by the ids of both tables.
        texts: parts of pages that take long to make, by path.
    """

    book: TokenBook
    sessions: SessionBook
    live: LiveCounts
    job_log: JobLog
    pages: Pages = field(default_factory=Pages)
    tables: Kept[TableView] = field(default_factory=lambda: Kept(MOST_ROWS, lambda view: len(view.rows)))
    comparisons: Kept[TableComparison] = field(default_factory=lambda: Kept(MOST_ROWS, lambda found: len(found.differences)))
    texts: Kept[str] = field(default_factory=lambda: Kept(MOST_TEXT, len))


async def _web(request: Request) -> Web:
    web: Web = request.app.state.web
    return web


WebDep = Annotated[Web, Depends(_web)]


def table_view(web: Web, store: Store, table_id: str) -> TableView:
    """The view of a table as it is. Raises TableNotFoundError, BusyError."""
    return web.tables.get(table_id, store.table_etag(table_id), lambda: TableView.of(*store.table_columns(table_id)))
