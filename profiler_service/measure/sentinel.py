"""The drift sentinel: one fixed engine that runs in every pass and tells the host's slow phases from slow operators."""

from __future__ import annotations

from enum import Enum, auto

from models.spec.graphs import GraphRequest
from models.spec.operators import OperatorSpec

SENTINEL_GRAPH = GraphRequest(subject=OperatorSpec(kind="conv3x3", in_channels=64, out_channels=64, height=16, width=32))
"""The sentinel, the same for every table: compute-bound, of a middling operator's size."""


class Verdict(Enum):
    """What to do with a visit."""

    ACCEPT = auto()
    """The host was as fast as it has been; keep it."""
    REPEAT = auto()
    """The host was slow or busy; measure again."""
    FLAG = auto()
    """The host was slow or busy, but enough was repeated; keep the best attempt and flag it as contaminated."""


BUSY_FOR_GOOD = 8
"""Attempts in a row that others disturbed, after which none is repeated for that: waiting was in vain."""


class SentinelGate:
    """Judges visits by their sentinel: more than `tolerance` above the best so far is a slow phase. What others disturbed is
    treated like that.

    A visit is repeated at most `max_repeats` times. All repeats together stay within `repeat_share` of the visits (and
    `max_repeats`), beyond which the host is taken to be slow for good: normalisation must then do without.

    A host that is busy all the time costs fewer repeats still: `BUSY_FOR_GOOD`, until something is left undisturbed again.

    Where the table has a sentinel reference, the best is that until something better is seen: a job may begin in a slow phase.

    One gate judges visits of one kind of group: how cold the sentinel runs depends on what runs beside it.
    """

    def __init__(
        self, *, repeat_share: float, reference_ms: float | None = None, tolerance: float = 0.08, max_repeats: int = 2
    ) -> None:
        self._repeat_share = repeat_share
        self._tolerance = tolerance
        self._max_repeats = max_repeats
        self._best_ms = reference_ms
        self._visits = 0
        self._repeats = 0
        self._disturbed_in_a_row = 0

    def judge(self, sentinel_ms: float, *, attempt: int, disturbed: bool = False) -> Verdict:
        """Judge one attempt at a visit.

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
            return Verdict.ACCEPT
        if self._disturbed_in_a_row > BUSY_FOR_GOOD:
            return Verdict.FLAG
        if attempt >= self._max_repeats or self._repeats >= self._max_repeats + self._repeat_share * self._visits:
            return Verdict.FLAG
        self._repeats += 1
        return Verdict.REPEAT
