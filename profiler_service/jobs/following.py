"""The states of a job as they change, for any number of followers in one event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from threading import Lock
from time import monotonic
from weakref import WeakSet

from models.spec.errors import OpclockError
from models.spec.wire import JobPublic

_LOOK_AGAIN_S = 2.0
"""How often the job is looked up when nothing is heard: it may be running in another process."""


class JobTexts:
    """The JSON of job states, made once for all who follow a job: a job's request may have megabytes."""

    def __init__(self) -> None:
        self._latest: tuple[JobPublic, str] | None = None

    def of(self, job: JobPublic) -> str:
        """Of that state."""
        latest = self._latest
        if latest is None or latest[0] is not job:
            latest = self._latest = (job, job.model_dump_json())
        return latest[1]


class JobEvents:
    """One job's states: the present one first, the final one last. An asynchronous iterable, for many readers at once.

    States that a reader did not take in time are skipped, the final one never. Whatever the number of readers, the job is
    looked up once where nothing is heard. Made in a running event loop; `put` may be called from any thread.

    Args:
        job: its present state.
        look: finds its present state, in a thread; its errors are ignored.
    """

    def __init__(self, job: JobPublic, look: Callable[[], JobPublic]) -> None:
        self.job_id = job.id
        self.loop = asyncio.get_running_loop()
        self._look, self._latest = look, job
        self._readers: set[asyncio.Event] = set()
        self._looking: asyncio.Task[None] | None = None
        self._heard_s = monotonic()

    def put(self, job: JobPublic) -> None:
        """Take in a new state."""
        with suppress(RuntimeError):  # the loop was closed: there is no reader any more
            self.loop.call_soon_threadsafe(self._take_in, job)

    async def look(self) -> None:
        """Take in the present state."""
        with suppress(OpclockError):
            self._take_in(await asyncio.to_thread(self._look))

    async def __aiter__(self) -> AsyncIterator[JobPublic]:
        """Each state once."""
        changed = asyncio.Event()
        changed.set()
        self._readers.add(changed)
        if self._looking is None:
            self._looking = asyncio.ensure_future(self._look_again())
        try:
            while True:
                await changed.wait()
                changed.clear()
                job = self._latest
                yield job
                if job.state.final:
                    return
        finally:
            self._readers.discard(changed)
            if not self._readers and self._looking is not None:
                self._looking.cancel()
                self._looking = None

    async def _look_again(self) -> None:
        while not self._latest.state.final:
            await asyncio.sleep(_LOOK_AGAIN_S)
            if monotonic() - self._heard_s >= _LOOK_AGAIN_S:
                await self.look()

    def _take_in(self, job: JobPublic) -> None:
        self._heard_s = monotonic()
        if job != self._latest and not self._latest.state.final:
            self._latest = job
            for changed in self._readers:
                changed.set()


class Followers:
    """Whoever follows jobs, in any number of event loops. `tell` may be called from any thread.

    Args:
        look: finds a job's present state, in a thread.
    """

    def __init__(self, look: Callable[[str], JobPublic]) -> None:
        self._look = look
        self._lock = Lock()
        self._followed: WeakSet[JobEvents] = WeakSet()

    async def events(self, job_id: str) -> JobEvents:
        """The job's states, the same for all who follow it in this loop. Raises what `look` raises."""
        loop = asyncio.get_running_loop()
        if (known := self._of(job_id, loop)) is not None:
            return known
        job = await asyncio.to_thread(self._look, job_id)
        if (known := self._of(job_id, loop)) is not None:  # others may have asked meanwhile
            return known
        followed = JobEvents(job, lambda: self._look(job_id))
        with self._lock:
            self._followed.add(followed)
        await followed.look()  # it may have changed before there was somebody to tell
        return followed

    def tell(self, job: JobPublic) -> None:
        """All who follow the job learn that state."""
        with self._lock:
            followers = [events for events in self._followed if events.job_id == job.id]
        for events in followers:
            events.put(job)

    def _of(self, job_id: str, loop: asyncio.AbstractEventLoop) -> JobEvents | None:
        with self._lock:
            return next((events for events in self._followed if events.job_id == job_id and events.loop is loop), None)
