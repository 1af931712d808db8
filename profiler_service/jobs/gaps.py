"""Costly requests of the service's own clients have their turn between visits, since what they take would be measured too."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition
from time import monotonic

AT_ONCE = 4
"""Costly requests that are worked on together: Python runs one at a time anyway."""

GAP_SHARE, SHORTEST_GAP_S, LONGEST_GAP_S = 0.5, 0.1, 2.0
"""A visit waits for the requests that are there for this share of what the visit before it took, within these bounds. Then no
further one begins, and it waits for those that have begun, `LONGEST_GAP_S` at the most.
"""

PATIENCE_S = 20.0
"""After which a request no longer waits for a visit to end: that may take minutes, and clients wait for 30 s."""


class VisitGaps:
    """Keeps visits of the job that runs, in its thread, and costly requests, in an event loop, apart as far as they can wait.

    While nothing is measured, requests wait for each other alone.
    """

    def __init__(self) -> None:
        self._changed = Condition()
        self._visiting = self._closing = False
        self._inside = 0
        self._waiting: deque[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = deque()
        self._last_s = 0.0

    @contextmanager
    def visit(self) -> Iterator[None]:
        """Measure for the length of a `with` block, after a gap if requests wait for one."""
        with self._changed:
            self._leave_gap()
            self._visiting = True
        start_s = monotonic()
        try:
            yield
        finally:
            with self._changed:
                self._visiting, self._last_s = False, monotonic() - start_s
                self._admit()

    async def enter(self) -> None:
        """Wait until a costly request may begin; `leave` when it is done."""
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        with self._changed:
            self._waiting.append((loop, turn))
            self._admit()
        try:
            await asyncio.wait_for(asyncio.shield(turn), PATIENCE_S)
        except TimeoutError:
            self._give_up(loop, turn, admit=True)
        except BaseException:  # whoever asked has gone
            self._give_up(loop, turn, admit=False)
            raise

    def leave(self) -> None:
        """A costly request is done."""
        with self._changed:
            self._inside -= 1
            self._admit()
            self._changed.notify_all()

    def _leave_gap(self) -> None:
        gap_s = min(max(GAP_SHARE * self._last_s, SHORTEST_GAP_S), LONGEST_GAP_S)
        self._changed.wait_for(lambda: not self._inside and not self._waiting, gap_s)
        self._closing = True
        try:
            self._changed.wait_for(lambda: not self._inside, LONGEST_GAP_S)
        finally:
            self._closing = False

    def _admit(self) -> None:
        """Let those in who may begin now. The lock is held."""
        while self._waiting and self._inside < AT_ONCE and not self._visiting and not self._closing:
            loop, turn = self._waiting.popleft()
            try:
                loop.call_soon_threadsafe(_begin, turn)
            except RuntimeError:  # the loop has ended, and the request with it
                continue
            self._inside += 1

    def _give_up(self, loop: asyncio.AbstractEventLoop, turn: asyncio.Future[None], *, admit: bool) -> None:
        """Begin now, or not at all; whether or not it was let in at the last moment."""
        with self._changed:
            let_in = (loop, turn) not in self._waiting
            if not let_in:
                self._waiting.remove((loop, turn))
            self._inside += admit - let_in
            self._admit()
            self._changed.notify_all()


def _begin(turn: asyncio.Future[None]) -> None:
    if not turn.done():
        turn.set_result(None)
