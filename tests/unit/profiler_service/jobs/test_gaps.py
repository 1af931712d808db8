"""Visits and costly requests keep out of each other's way, and neither waits for the other without end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest

from profiler_service.jobs import gaps as module
from profiler_service.jobs.gaps import AT_ONCE, VisitGaps

PATIENCE_S = 20.0


class Visitor:
    """A thread that makes a visit as long as the test lets it."""

    def __init__(self, gaps: VisitGaps) -> None:
        self.begun, self.go = threading.Event(), threading.Event()
        self._gaps = gaps
        self._thread = threading.Thread(target=self._visit)
        self._thread.start()

    def _visit(self) -> None:
        with self._gaps.visit():
            self.begun.set()
            assert self.go.wait(PATIENCE_S)

    def end(self) -> None:
        self.go.set()
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()


async def passing(condition: Callable[[], bool]) -> None:
    """Let others run until the condition holds."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.001)


def test_a_request_waits_until_the_visit_has_ended() -> None:
    gaps = VisitGaps()
    visitor = Visitor(gaps)

    async def ask() -> None:
        await passing(visitor.begun.is_set)
        asked = asyncio.create_task(gaps.enter())
        await asyncio.sleep(0.02)
        assert not asked.done()
        visitor.go.set()
        await asyncio.wait_for(asked, PATIENCE_S)
        gaps.leave()

    asyncio.run(ask())
    visitor.end()


def test_a_visit_waits_for_the_requests_that_have_begun() -> None:
    gaps = VisitGaps()

    async def ask() -> None:
        await gaps.enter()
        visitor = Visitor(gaps)
        await asyncio.sleep(0.02)
        assert not visitor.begun.is_set()
        gaps.leave()
        await passing(visitor.begun.is_set)
        visitor.end()

    asyncio.run(ask())


def test_a_server_that_has_ended_is_not_waited_for() -> None:
    """Its requests went with it; the job goes on to its end."""
    gaps, loop = VisitGaps(), asyncio.new_event_loop()
    visitor = Visitor(gaps)
    assert visitor.begun.wait(PATIENCE_S)
    gaps._waiting.append((loop, loop.create_future()))
    loop.close()
    visitor.end()
    later = Visitor(gaps)
    assert later.begun.wait(PATIENCE_S)
    later.end()


@pytest.mark.parametrize("limit", ["LONGEST_GAP_S", "PATIENCE_S"])
def test_neither_waits_without_end(limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, limit, 0.02)
    gaps = VisitGaps()

    async def ask() -> None:
        if limit == "LONGEST_GAP_S":
            await gaps.enter()  # and never leaves
        visitor = Visitor(gaps)
        await passing(visitor.begun.is_set)
        if limit == "PATIENCE_S":
            await asyncio.wait_for(gaps.enter(), PATIENCE_S)
        visitor.end()

    asyncio.run(ask())


def test_only_some_are_inside_and_who_goes_away_leaves_no_place_taken() -> None:
    gaps = VisitGaps()

    async def ask() -> None:
        inside = [asyncio.create_task(gaps.enter()) for _ in range(AT_ONCE)]
        await asyncio.gather(*inside)
        gone, patient = (asyncio.create_task(gaps.enter()) for _ in range(2))
        await asyncio.sleep(0.01)
        assert not gone.done()
        assert not patient.done()
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        gaps.leave()
        await asyncio.wait_for(patient, PATIENCE_S)
        for _ in range(AT_ONCE):
            gaps.leave()

    asyncio.run(ask())
    visitor = Visitor(gaps)
    assert visitor.begun.wait(PATIENCE_S)
    visitor.end()
