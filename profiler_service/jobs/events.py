"""How somebody follows a job: always its latest state, however slowly they read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

from models.spec.wire import JobPublic

_LOOK_AGAIN_S = 2.0
"""How often the store is asked when nothing is heard: the job may be running in another process."""


class JobEvents:
    """The states of one job as they change: the present one first, the final one last. An asynchronous iterable.

    States that were not taken in time are skipped, the final one never. Made in a running event loop; `put` may be called
    from any thread.

    Args:
        job: its present state.
        look: reads it from the store.
    """

    def __init__(self, job: JobPublic, look: Callable[[], JobPublic]) -> None:
        self.job_id = job.id
        self._look = look
        self._loop = asyncio.get_running_loop()
        self._latest = job
        self._changed = asyncio.Event()
        self._changed.set()

    def put(self, job: JobPublic) -> None:
        """Take in a new state."""
        with suppress(RuntimeError):  # the loop was closed: nobody reads any more
            self._loop.call_soon_threadsafe(self._take_in, job)

    async def __aiter__(self) -> AsyncIterator[JobPublic]:
        """Each state once."""
        while True:
            await self._wait()
            self._changed.clear()
            job = self._latest
            yield job
            if job.state.final:
                return

    async def _wait(self) -> None:
        while not self._changed.is_set():
            try:
                await asyncio.wait_for(self._changed.wait(), _LOOK_AGAIN_S)
            except TimeoutError:
                self._take_in(await asyncio.to_thread(self._look))

    def _take_in(self, job: JobPublic) -> None:
        if job != self._latest and not self._latest.state.final:
            self._latest = job
            self._changed.set()
