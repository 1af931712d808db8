"""How far a job is, and how long it will take: from what its work has cost so far."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import Enum
from time import monotonic

_REMEMBERED = 8
"""Portions of each kind of work that the rate is taken from: old ones were cheaper or dearer, few are noisy."""


class Work(Enum):
    """The kinds of work of a job, and what a unit of each costs beside the others before anything is known."""

    BUILD = 2.0
    """Making, building and checking one operator's graphs."""
    VISIT = 1.0
    """Timing one operator in one round. A network counts as many units as it has operators."""


class WorkEstimate:
    """Adds up work that was done and work that is left.

    `fraction` never falls, although the work left may turn out to be more; `eta_s` is None until each kind of work that
    is left has been seen to cost something.
    """

    def __init__(self) -> None:
        self._left = dict.fromkeys(Work, 0.0)
        self._done = dict.fromkeys(Work, 0.0)
        self._portions = {work: deque[tuple[float, float]](maxlen=_REMEMBERED) for work in Work}
        self._fraction = 0.0

    def expect(self, work: Work, units: float) -> None:
        """So much of that work is left, from now on."""
        self._left[work] = max(units, 0.0)

    def did(self, work: Work, units: float, seconds: float) -> None:
        """So much of what was left is done, and took so long."""
        self._left[work] = max(self._left[work] - units, 0.0)
        self._done[work] += units
        self._portions[work].append((units, max(seconds, 0.0)))

    @property
    def fraction(self) -> float:
        """Share of the work that is done, 0 to 1."""
        done = sum(work.value * units for work, units in self._done.items())
        left = sum(work.value * units for work, units in self._left.items())
        self._fraction = max(self._fraction, done / (done + left) if done else 0.0)
        return self._fraction

    @property
    def eta_s(self) -> float | None:
        """Seconds left; None while that cannot be said."""
        total_s = 0.0
        for work, left in self._left.items():
            if not left:
                continue
            units = sum(portion for portion, _ in self._portions[work])
            if not units:
                return None
            total_s += left * sum(seconds for _, seconds in self._portions[work]) / units
        return total_s


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
