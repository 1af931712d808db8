"""How far a job is, and how long it will take: from what its work has cost so far."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import Enum, auto
from time import monotonic

_REMEMBERED = 32
"""Portions of each kind of work that its rate is taken from: older ones were cheaper or dearer, fewer are noisy."""


class Work(Enum):
    """The kinds of work of a job. A unit of one is taken to cost as much as a unit of the other until it is known."""

    BUILD = auto()
    """Making, building and checking one graph."""
    VISIT = auto()
    """Timing one operator in one round. A network counts as many units as it has operators."""


class WorkEstimate:
    """Adds up work that was done and work that is left. `fraction` never falls, although more work may turn up."""

    def __init__(self) -> None:
        self._left = dict.fromkeys(Work, 0.0)
        self._done = 0.0
        self._portions = {work: deque[tuple[float, float]](maxlen=_REMEMBERED) for work in Work}
        self._fraction = 0.0

    def expect(self, work: Work, units: float) -> None:
        """So much of that work is left, from now on."""
        self._left[work] = max(units, 0.0)

    def did(self, work: Work, units: float, seconds: float) -> None:
        """So much of what was left is done, and took so long. No units: the time was lost, and counts for the rest."""
        self._left[work] = max(self._left[work] - units, 0.0)
        self._done += units
        self._portions[work].append((units, max(seconds, 0.0)))

    @property
    def fraction(self) -> float:
        """Share of the work that is done, 0 to 1."""
        if self._done:
            self._fraction = max(self._fraction, self._done / (self._done + sum(self._left.values())))
        return self._fraction

    @property
    def eta_s(self) -> float | None:
        """Seconds left; None before anything was done."""
        rates = {work: rate for work in Work if (rate := self._rate_s(work)) is not None}
        if not rates:
            return None
        unknown = sum(rates.values()) / len(rates)
        return sum(left * rates.get(work, unknown) for work, left in self._left.items())

    def _rate_s(self, work: Work) -> float | None:
        """Seconds per unit of late."""
        units = sum(portion for portion, _ in self._portions[work])
        return sum(seconds for _, seconds in self._portions[work]) / units if units else None


class Throttle:
    """Lets something through a few times a second.

    Args:
        interval_s: at least so long apart.
        clock: seconds that never go back.
    """

    def __init__(self, interval_s: float = 0.3, clock: Callable[[], float] = monotonic) -> None:
        self._interval_s, self._clock = interval_s, clock
        self._last_s: float | None = None

    def ready(self) -> bool:
        """Whether it is time again; then the time runs anew."""
        now_s = self._clock()
        if self._last_s is not None and now_s - self._last_s < self._interval_s:
            return False
        self._last_s = now_s
        return True
