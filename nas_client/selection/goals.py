"""What a selection looks for: the most accurate network below a latency, or the front of both."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from nas_client.search.config import SelectionSettings
from nas_client.selection.candidates import Candidate, front, spread_over


@dataclass(frozen=True)
class Goal:
    """One of the goals of a selection.

    Attributes:
        target_ms: which a network's latency must not exceed; None for the front.
        sigmas: standard errors that count to a latency.
    """

    target_ms: float | None
    sigmas: float

    @property
    def name(self) -> str:
        """`7 ms`, or `front`."""
        return "front" if self.target_ms is None else f"{self.target_ms:g} ms"

    def admits(self, latency_ms: float, stderr_ms: float) -> bool:
        """Whether a network of that estimate may be chosen."""
        return self.target_ms is None or latency_ms + self.sigmas * stderr_ms <= self.target_ms

    def best(self, candidates: Iterable[Candidate], count: int) -> list[Candidate]:
        """The best so many, the first the best: by accuracy below a target; else front after front, each evenly."""
        if self.target_ms is not None:
            admitted = [c for c in candidates if self.admits(c.latency_ms, c.stderr_ms)]
            return sorted(admitted, key=lambda c: (-c.accuracy, c.latency_ms))[:count]
        found: list[Candidate] = []
        rest = list(candidates)
        while rest and len(found) < count:
            outer = front(rest, sigmas=self.sigmas)
            found += spread_over(outer, count - len(found))
            taken = {id(candidate) for candidate in outer}
            rest = [candidate for candidate in rest if id(candidate) not in taken]
        return found


def goals_of(settings: SelectionSettings) -> Sequence[Goal]:
    """A goal for each target, and the front where it is asked for, or nothing else is."""
    found = [Goal(target, settings.sigmas) for target in settings.latency_ms]
    return [*found, Goal(None, settings.sigmas)] if settings.front or not found else found
