"""Counts of all jobs as they change, for any number of pages: one small query a second while somebody looks, none otherwise."""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from models.spec.errors import OpclockError
from profiler_service.storage.job_rows import JobProgress
from profiler_service.storage.store import Store
from profiler_service.web import words

BUSY_S, IDLE_S = 1.0, 3.0
"""Between two looks while there are unfinished jobs, and while there are none."""

SHOWN_JOBS = 30
"""Unfinished and ended jobs whose counts are told."""


@dataclass(frozen=True)
class Counts:
    """What pages are told. `id` names it, for a browser that comes back."""

    id: str
    text: str
    busy: bool


class LiveCounts:
    """The counts of jobs, followed by readers in one event loop."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._epoch, self._number = secrets.token_hex(4), 0
        self._latest: Counts | None = None
        self._readers: set[asyncio.Event] = set()
        self._looking: asyncio.Task[None] | None = None

    async def follow(self, last_id: str = "") -> AsyncIterator[Counts]:
        """The present counts, unless they are those that the reader has, then all later ones. Some may be skipped."""
        changed = asyncio.Event()
        self._readers.add(changed)
        if self._looking is None:
            self._looking = asyncio.ensure_future(self._look_again())
        elif self._latest is not None and self._latest.id != last_id:
            changed.set()
        try:
            while True:
                await changed.wait()
                changed.clear()
                if self._latest is not None and self._latest.id != last_id:
                    last_id = self._latest.id
                    yield self._latest
        finally:
            self._readers.discard(changed)
            if not self._readers and self._looking is not None:
                self._looking.cancel()
                self._looking = None

    async def _look_again(self) -> None:
        while True:
            with suppress(OpclockError):  # told by the page's health; looked at again
                self._take_in(*await asyncio.to_thread(self._look))
            await asyncio.sleep(BUSY_S if self._latest is None or self._latest.busy else IDLE_S)

    def _look(self) -> tuple[str, bool]:
        jobs, tables = self._store.progress(SHOWN_JOBS)
        now = datetime.now(UTC)
        told = [{"id": job.id, "fraction": job.fraction, "shown": shown(job, now)} for job in jobs]
        return json.dumps({"shape": shape_of(jobs, tables), "jobs": told}), any(not job.state.final for job in jobs)

    def _take_in(self, text: str, busy: bool) -> None:
        if self._latest is None or self._latest.text != text:
            self._number += 1
            self._latest = Counts(f"{self._epoch}-{self._number}", text, busy)
        for changed in self._readers:
            changed.set()


def shape_of(jobs: Sequence[JobProgress], tables: int) -> str:
    """Names what a page shows besides counts: it is another one as soon as parts of the page have to be written anew."""
    parts = [tables, *((job.id, job.state.value, job.counts.failed) for job in jobs)]
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def shown(job: JobProgress, now: datetime) -> dict[str, str]:
    """A job's counts as a page writes them, by name."""
    counts = job.counts
    measured = counts.measured + counts.failed
    seconds = None if job.started_at is None else ((job.finished_at or now) - job.started_at).total_seconds()
    return {
        "state": words.words(job.state.value),
        "phase": job.phase,
        "percent": f"{100 * job.fraction:.0f} %",
        "eta": f"about {words.duration(job.eta_s)} left" if job.state.active and job.eta_s is not None else "",
        "finished": words.count(counts.finished),
        "total": words.count(counts.total),
        "measured": words.count(counts.measured),
        "reused": words.count(counts.reused),
        "failed": words.count(counts.failed),
        "rate": f"{measured / seconds:.2f}" if seconds and measured else words.NOTHING,
        "elapsed": words.duration(seconds),
    }
