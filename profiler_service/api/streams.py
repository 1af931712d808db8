"""Job states as server-sent events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator

import anyio
from sse_starlette import EventSourceResponse, ServerSentEvent

from models.spec.wire import JobPublic
from profiler_service.settings import Settings

JOB_EVENT = "job"
"""Name of every event; its data is the job as JSON."""

FAREWELL_S = 1.0
"""For a stream to end properly when the service stops; a proxy would otherwise report a broken answer."""


def event_stream(states: AsyncIterable[JobPublic], settings: Settings) -> EventSourceResponse:
    """A stream that ends after the last state, or when the service stops."""
    stopping = anyio.Event()

    async def events() -> AsyncIterator[ServerSentEvent]:
        async for job in _until(stopping, states):
            yield ServerSentEvent(job.model_dump_json(), event=JOB_EVENT)

    return EventSourceResponse(events(), ping=settings.heartbeat_s, shutdown_event=stopping, shutdown_grace_period=FAREWELL_S)


async def _until(stopping: anyio.Event, states: AsyncIterable[JobPublic]) -> AsyncIterator[JobPublic]:
    """The states until the event is set, even while the next one is waited for."""
    iterator = aiter(states)
    stop = asyncio.ensure_future(stopping.wait())
    try:
        while True:
            step = asyncio.ensure_future(anext(iterator, None))
            try:
                await asyncio.wait({step, stop}, return_when=asyncio.FIRST_COMPLETED)
                job = step.result() if step.done() else None
            finally:
                step.cancel()  # without effect if it is done
            if job is None:
                return
            yield job
    finally:
        stop.cancel()
