"""The drift sentinel: one fixed engine that runs in every pass. Pure.

It separates slow phases of the host from slow operators, and its time on a quiet target is the scale of all values.

A visit is one group of engines with the sentinel among them; its sentinel time is a median over tens of runs. On a quiet
machine visits agree within a percent or two, and whatever disturbs them makes them slower, never faster. So the reference is
the lowest level that enough visits share, not the lowest visit and never the first (docs/measurement.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto
from math import ceil, sqrt

import numpy as np
from numpy.typing import NDArray

from models.spec.graphs import GraphRequest
from models.spec.operators import OperatorSpec
from models.spec.scale import Scale, ScalePoint
from profiler_service.measure.statistics import median

SENTINEL_GRAPH = GraphRequest(subject=OperatorSpec(kind="conv3x3", in_channels=64, out_channels=64, height=16, width=32))
"""The sentinel, the same for every table: compute-bound, of a middling operator's size."""


SLOW = 0.08
"""A sentinel this far above the reference, or above the best of a job, as a fraction, was timed in a slow phase."""


class VisitDecision(Enum):
    """What to do with a visit."""

    ACCEPT = auto()
    """The host was as fast as it has been; save it."""
    REPEAT = auto()
    """The host was slow or busy; measure again."""
    FLAG = auto()
    """The host was slow or busy, but enough was repeated; save the best attempt and flag it as contaminated."""


BUSY_FOR_GOOD = 8
"""Attempts in a row that others disturbed, after which none is repeated for that: waiting was in vain."""


class SentinelGate:
    """Accepts visits or has them repeated, by their sentinel: more than `tolerance` above the best so far is a slow phase.

    A visit that others disturbed is treated like one in a slow phase.

    A visit is repeated at most `max_repeats` times. All repeats together are at most `repeat_share` of the visits, plus
    `max_repeats`. Beyond that the host counts as slow for good, and what is slow is flagged.

    A host that is busy all the time costs fewer repeats still: `BUSY_FOR_GOOD`, until a visit is left undisturbed again.

    One gate decides on visits of one kind of group: how cold the sentinel runs depends on what runs beside it.

    Args:
        repeat_share: see above, as a fraction.
        reference_ms: the best before the first visit, since a job may begin in a slow phase; None on a target without a scale.
        tolerance: as a fraction.
        max_repeats: see above.
    """

    def __init__(
        self, *, repeat_share: float, reference_ms: float | None = None, tolerance: float = SLOW, max_repeats: int = 2
    ) -> None:
        self._repeat_share = repeat_share
        self._tolerance = tolerance
        self._max_repeats = max_repeats
        self._best_ms = reference_ms
        self._visits = 0
        self._repeats = 0
        self._disturbed_in_a_row = 0

    def decide(self, sentinel_ms: float, *, attempt: int, disturbed: bool = False) -> VisitDecision:
        """What to do with one attempt at a visit.

        Args:
            sentinel_ms: median of the sentinel's runs in it.
            attempt: 0 for a visit's first attempt, then 1, 2 …
            disturbed: whether others used the processor or the device meanwhile.
        """
        if attempt == 0:
            self._visits += 1
        self._best_ms = sentinel_ms if self._best_ms is None else min(self._best_ms, sentinel_ms)
        self._disturbed_in_a_row = self._disturbed_in_a_row + 1 if disturbed else 0
        if not disturbed and sentinel_ms <= (1 + self._tolerance) * self._best_ms:
            return VisitDecision.ACCEPT
        if self._disturbed_in_a_row > BUSY_FOR_GOOD:
            return VisitDecision.FLAG
        if attempt >= self._max_repeats or self._repeats >= self._max_repeats + self._repeat_share * self._visits:
            return VisitDecision.FLAG
        self._repeats += 1
        return VisitDecision.REPEAT


LEAST_QUIET = 6
"""Quiet visits that a scale needs."""

LEVEL = 0.04
"""Visits within this fraction of each other are on one level."""

LEAST_SHARE = 0.02
"""Share of the undisturbed visits that a level needs, so that a few odd ones never make one."""

AGREEING_SHARE, AGREEING_SHARE_UNSEEN = 0.25, 0.6
"""Share of the undisturbed visits that must be on the level: where the host was observed, and where its other work is not
known."""

BETWEEN_SESSIONS = 0.01
"""Least standard deviation between sessions, as a fraction. Those that are on the reference's level are a choice of what was
measured, and so differ by less than sessions do; while there are fewer than three, nothing else is known."""

SESSION_GAP = timedelta(minutes=30)
"""Visits further apart belong to different sessions, whose conditions are taken to be independent."""

_HISTORY = 200
"""Points of the history that are stored."""

HOW_TO_SETTLE = "run the same `profiler-service profile` command again while the machine does nothing else"


@dataclass(frozen=True)
class SentinelVisit:
    """What one visit says about the scale.

    Attributes:
        sentinel_ms: the sentinel's median.
        started_at: UTC.
        disturbed: whether others used the processor or the GPU, or its clock was held down.
        seen: whether that was observed.
    """

    sentinel_ms: float
    started_at: datetime
    disturbed: bool = False
    seen: bool = True


def is_slow(sentinel_ms: float, scale: Scale | None) -> bool:
    """Whether a sentinel's median means a slow phase; not known before the scale is settled."""
    return scale is not None and scale.settled and sentinel_ms > (1 + SLOW) * scale.reference_ms


def learn_scale(visits: Iterable[SentinelVisit], before: Scale | None, *, at: datetime) -> Scale | None:
    """The scale after those visits; None where there is none to learn from and there was none before.

    Args:
        visits: all that were ever made on the target.
        before: the scale until now, whose history goes on.
        at: now, UTC.
    """
    found = sorted(visits, key=lambda visit: visit.sentinel_ms)
    if not found:
        return before
    undisturbed = [visit for visit in found if not visit.disturbed]
    quiet = _on_lowest_level(undisturbed or found)
    reference_ms = median([visit.sentinel_ms for visit in quiet])
    stderr_ms = _stderr(quiet, reference_ms)
    count = len(quiet) if undisturbed else 0
    point = ScalePoint(at=at, reference_ms=reference_ms, stderr_ms=stderr_ms, visits=len(found), quiet=count)
    history = (*(before.history if before else ()), point)[-_HISTORY:]
    why = _unsettled(len(found), undisturbed, quiet if undisturbed else ())
    return Scale(reference_ms=reference_ms, stderr_ms=stderr_ms, visits=len(found), quiet=count, unsettled=why, history=history)


def _on_lowest_level(visits: Sequence[SentinelVisit]) -> list[SentinelVisit]:
    """Of visits sorted fastest first, those on the lowest level that enough of them share."""
    times = np.array([visit.sentinel_ms for visit in visits])
    needed = min(max(LEAST_QUIET, ceil(LEAST_SHARE * times.size)), times.size)
    members = np.searchsorted(times, times * (1 + LEVEL), side="right") - np.arange(times.size)
    enough = np.flatnonzero(members >= needed)
    first = int(enough[0]) if enough.size else 0
    level = times[first : first + int(members[first])]
    for _ in range(2):  # from the window's edge, where an odd visit may have put it, to the middle of the level
        level = times[_near(times, float(np.median(level)))]
    near = _near(times, float(np.median(level)))
    return [visit for visit, is_near in zip(visits, near, strict=True) if is_near]


def _near(times: NDArray[np.float64], centre: float) -> NDArray[np.bool_]:
    near: NDArray[np.bool_] = np.abs(times / centre - 1) <= LEVEL / 2
    return near


def _stderr(quiet: Sequence[SentinelVisit], reference_ms: float) -> float:
    """Standard error of the reference: sessions are independent, visits of one session are not."""
    sessions = [median([visit.sentinel_ms for visit in session]) for session in _sessions(quiet)]
    spread = BETWEEN_SESSIONS * reference_ms
    if len(sessions) >= 3:
        spread = max(spread, float(np.std(sessions, ddof=1)))
    within = float(np.std([visit.sentinel_ms for visit in quiet])) / sqrt(len(quiet))
    return float(np.hypot(spread / sqrt(len(sessions)), within))


def _sessions(visits: Iterable[SentinelVisit]) -> list[list[SentinelVisit]]:
    """The visits by session, each in order of time."""
    ordered = sorted(visits, key=lambda visit: visit.started_at)
    sessions: list[list[SentinelVisit]] = []
    for visit in ordered:
        if sessions and visit.started_at - sessions[-1][-1].started_at <= SESSION_GAP:
            sessions[-1].append(visit)
        else:
            sessions.append([visit])
    return sessions


def _unsettled(visits: int, undisturbed: Sequence[SentinelVisit], quiet: Sequence[SentinelVisit]) -> str:
    """Why the scale is not established, and what to do; empty where it is.

    Visits must agree in one session: others may have been slow all through.
    """
    if len(quiet) < LEAST_QUIET:
        return f"{len(quiet)} of {visits} visits were quiet, and {LEAST_QUIET} are needed; {HOW_TO_SETTLE}"
    level = {id(visit) for visit in quiet}
    sessions = [session for session in _sessions(undisturbed) if len(session) >= LEAST_QUIET] or [list(undisturbed)]
    shares = [(sum(id(visit) in level for visit in session) / len(session), session) for session in sessions]
    share, best = max(shares, key=lambda pair: pair[0])
    least = AGREEING_SHARE if any(visit.seen for visit in best) else AGREEING_SHARE_UNSEEN
    if share < least:
        return (
            f"visits disagree: the sentinel took the same time in {share:.0%} of {len(best)} visits at best, and {least:.0%} "
            f"are needed; {HOW_TO_SETTLE}"
        )
    return ""
