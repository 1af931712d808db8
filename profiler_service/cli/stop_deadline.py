"""The end of a service in time: whatever requests and jobs still do, its process is gone when its supervisor expects that."""

from __future__ import annotations

import os
from collections.abc import Callable
from threading import Timer
from typing import NoReturn

import structlog

log = structlog.get_logger(__name__)

_MARGIN_S = 3.0
"""Before the timeout what is under way is cut off, and has so long to end properly."""

_LAST_S = 1.0
"""Before the timeout the process is ended, since a busy one takes a moment for that."""


class StopDeadline:
    """From the first stop signal on, the process has so long to end; then, or at a second signal, it is ended.

    What is in the database stays as it is, since it is written in transactions; worker processes end with their parent.

    Args:
        timeout_s: from the first signal to the end, at most.
        on_begin: called once, at the first signal. It must return at once.
        on_end: called before the process is ended.
        end: ends it, with an exit code.
    """

    def __init__(
        self,
        timeout_s: float,
        *,
        on_begin: Callable[[], None],
        on_end: Callable[[], None],
        end: Callable[[int], NoReturn] = os._exit,
    ) -> None:
        self._timeout_s, self._on_begin, self._on_end, self._end = timeout_s, on_begin, on_end, end
        self._timer: Timer | None = None

    def signalled(self, number: int) -> None:
        """A stop signal has come."""
        if self._timer is not None:
            self._cut("a second signal", 128 + number)
        allowed_s = max(self._timeout_s - _LAST_S, 0.75 * self._timeout_s)
        self._timer = Timer(allowed_s, self._cut, (f"{allowed_s:g} s", 0))
        self._timer.daemon = True
        self._timer.start()
        self._on_begin()

    def _cut(self, after: str, code: int) -> NoReturn:
        log.warning(f"stopped after {after} with requests or a visit under way", hint="Everything committed is kept.")
        self._on_end()
        self._end(code)


def orderly_seconds(timeout_s: float) -> float:
    """The part of a stop's time in which open requests and the running visit may still end by themselves."""
    return max(timeout_s - _MARGIN_S, timeout_s / 2)
