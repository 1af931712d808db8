"""What the pages of one service share; made with the application."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request

from models.spec.wire import TablePublic
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


class Summaries:
    """Summaries of tables, of which one counts for twenty times as long as it took to read, five minutes at the most: that of
    a table of 666 entries for a tenth of a second, that of one of 100,000 for half a minute.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: dict[str, tuple[float, TablePublic]] = {}

    def of(self, store: Store, table_id: str) -> TablePublic:
        """That of a table. Raises TableNotFoundError."""
        kept = self._kept.get(table_id)
        started = self._clock()
        if kept is not None and started < kept[0]:
            return kept[1]
        summary = store.table_summary(table_id)
        now = self._clock()
        self._kept[table_id] = (now + min(20 * (now - started), 300.0), summary)
        return summary


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
    summaries: Summaries = field(default_factory=Summaries)
    pages: Pages = field(default_factory=Pages)
    tables: Kept[TableView] = field(default_factory=lambda: Kept(MOST_ROWS, lambda view: len(view.rows)))
    comparisons: Kept[TableComparison] = field(default_factory=lambda: Kept(MOST_ROWS, lambda found: len(found.differences)))
    texts: Kept[str] = field(default_factory=lambda: Kept(MOST_TEXT, len))


async def _web(request: Request) -> Web:
    web: Web = request.app.state.web
    return web


WebDep = Annotated[Web, Depends(_web)]


def table_view(web: Web, store: Store, table_id: str) -> TableView:
    """The view of a table as it is, or was shortly before. Raises TableNotFoundError, BusyError."""
    etag = web.summaries.of(store, table_id).etag
    return web.tables.get(table_id, etag, lambda: TableView.of(store.table(table_id), etag))
