"""How much the engines of one graph differ from build to build, and how much one engine's runs do (docs/measurement.md)."""

from __future__ import annotations

from statistics import median
from typing import Annotated

from pydantic import Field

from models.spec import limits
from models.spec.base import Record, UtcTime

Milliseconds = Annotated[float, Field(ge=0)]


class RebuiltEntry(Record):
    """One entry of a table that was built several times from scratch. Milliseconds.

    Attributes:
        key, label: of the operator.
        value_ms: the table's value, which the fractions below refer to.
        between_ms: standard deviation between builds, beyond what runs of one build explain.
        within_ms: standard deviation between rounds of one build.
    """

    key: Annotated[str, Field(min_length=1, max_length=64)]
    label: str
    value_ms: Annotated[float, Field(gt=0)]
    between_ms: Milliseconds
    within_ms: Milliseconds

    @property
    def between(self) -> float:
        """As a fraction of the value."""
        return self.between_ms / self.value_ms

    @property
    def within(self) -> float:
        """As a fraction of the value."""
        return self.within_ms / self.value_ms


class RebuildSpread(Record):
    """What building a seeded choice of a table's entries several times told.

    Attributes:
        builds, rounds: of each entry; all builds were live at once and timed in turn.
        entries: those that could be built and timed every time.
        failed: how many could not.
        throttled: whether the device was slow in rounds that count, since there were too few others.
        measured_at: UTC.
    """

    builds: Annotated[int, Field(ge=2)]
    rounds: Annotated[int, Field(ge=2)]
    entries: Annotated[tuple[RebuiltEntry, ...], Field(max_length=limits.MAX_TABLE_ENTRIES)] = ()
    failed: Annotated[int, Field(ge=0)] = 0
    throttled: bool = False
    measured_at: UtcTime

    def fractions(self) -> dict[str, float]:
        """Medians over the entries, and the worst one, as fractions of their values; empty where there is no entry."""
        if not self.entries:
            return {}
        between = [entry.between for entry in self.entries]
        return {
            "between_builds": median(between),
            "within_a_build": median(entry.within for entry in self.entries),
            "worst_between_builds": max(between),
        }

    def sentence(self) -> str:
        """For people."""
        remarks = f"; {self.failed} could not be built or timed each time" if self.failed else ""
        remarks += "; on a throttled device" if self.throttled else ""
        if not (found := self.fractions()):
            return f"none of {self.failed} entries could be built {self.builds} times"
        return (
            f"{len(self.entries)} entries built {self.builds} times: builds differ by {found['between_builds']:.1%} "
            f"(worst {found['worst_between_builds']:.1%}), runs of one build by {found['within_a_build']:.1%}{remarks}"
        )
