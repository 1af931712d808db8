"""How much the engines of one graph differ from build to build, and how much one engine's runs do (docs/measurement.md)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from operator import attrgetter
from statistics import median
from typing import Annotated, Self, TypeVar

from pydantic import Field, model_validator

from models.spec import limits
from models.spec.base import Record, UtcTime
from models.spec.errors import InvalidSpecError

Milliseconds = Annotated[float, Field(ge=0)]
Several = Annotated[int, Field(ge=2)]
Key = Annotated[str, Field(min_length=1, max_length=64)]


class RebuiltEntry(Record):
    """One entry of a table that was built several times from scratch. Milliseconds.

    Attributes:
        key, label: of the operator.
        value_ms: the table's value, which the fractions below refer to.
        between_ms: standard deviation between builds, beyond what runs of one build explain.
        within_ms: standard deviation between rounds of one build.
        builds, rounds, throttled, measured_at: as of `RebuildSpread`, of this entry alone; None for what the spread says.
    """

    key: Key
    label: str
    value_ms: Annotated[float, Field(gt=0)]
    between_ms: Milliseconds
    within_ms: Milliseconds
    builds: Several | None = None
    rounds: Several | None = None
    throttled: bool | None = None
    measured_at: UtcTime | None = None

    @property
    def between(self) -> float:
        """As a fraction of the value."""
        return self.between_ms / self.value_ms

    @property
    def within(self) -> float:
        """As a fraction of the value."""
        return self.within_ms / self.value_ms


class FailedRebuild(Record):
    """One entry of a table that could not be built or timed every time.

    Attributes:
        key, label: of the operator.
        message: why, for people.
        measured_at: UTC; None for what the spread says.
    """

    key: Key
    label: str
    message: str = ""
    measured_at: UtcTime | None = None


class RebuildSpread(Record):
    """What building a seeded choice of a table's entries several times told.

    Attributes:
        builds, rounds: of each entry, or the fewest of any; all builds were live at once and timed round-robin.
        entries: those that could be built and timed every time.
        failures: those that could not; None where an earlier release counted them without naming them.
        failed: how many could not.
        throttled: whether the device was slow in rounds that count, since there were too few others.
        measured_at: when that began, of the latest where they were not built together. UTC.
    """

    builds: Several
    rounds: Several
    entries: Annotated[tuple[RebuiltEntry, ...], Field(max_length=limits.MAX_TABLE_ENTRIES)] = ()
    failures: Annotated[tuple[FailedRebuild, ...], Field(max_length=limits.MAX_TABLE_ENTRIES)] | None = None
    failed: Annotated[int, Field(ge=0)] = 0
    throttled: bool = False
    measured_at: UtcTime

    @model_validator(mode="after")
    def _failures_counted(self) -> Self:
        if self.failures is not None and self.failed != len(self.failures):
            raise InvalidSpecError(f"{self.failed} failed, but {len(self.failures)} are named")
        return self

    def known_keys(self, since: datetime | None = None) -> frozenset[str]:
        """Keys of what was built several times, or could not be, since that instant or ever."""
        outcomes: tuple[RebuiltEntry | FailedRebuild, ...] = (*self.entries, *(self.failures or ()))
        return frozenset(
            outcome.key for outcome in outcomes if since is None or (outcome.measured_at or self.measured_at) >= since
        )

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


def merged(known: RebuildSpread, told: RebuildSpread) -> RebuildSpread:
    """Both as one: of each operator its latest outcome, be it an entry or a failure; at the same instant that of `told`.

    What the whole says of its builds, its rounds and the device follows from the entries that stay. Failures without a name
    are forgotten: nobody could tell whether they still are any.
    """
    latest: dict[str, RebuiltEntry | FailedRebuild] = {}
    for outcome in sorted((*_outcomes(known), *_outcomes(told)), key=attrgetter("measured_at")):
        latest[outcome.key] = outcome
    ordered = sorted(latest.values(), key=attrgetter("label", "key"))
    entries = tuple(outcome for outcome in ordered if isinstance(outcome, RebuiltEntry))
    failures = tuple(outcome for outcome in ordered if isinstance(outcome, FailedRebuild))
    return RebuildSpread(
        builds=min((entry.builds for entry in entries if entry.builds), default=told.builds),
        rounds=min((entry.rounds for entry in entries if entry.rounds), default=told.rounds),
        entries=entries,
        failures=failures,
        failed=len(failures),
        throttled=any(entry.throttled for entry in entries),
        measured_at=max(known.measured_at, told.measured_at),
    )


def _outcomes(spread: RebuildSpread) -> Iterator[RebuiltEntry | FailedRebuild]:
    """Entries and failures, each saying by itself what the spread says of all."""
    for entry in spread.entries:
        yield _filled(entry, spread, "builds", "rounds", "throttled", "measured_at")
    for failure in spread.failures or ():
        yield _filled(failure, spread, "measured_at")


_Outcome = TypeVar("_Outcome", RebuiltEntry, FailedRebuild)


def _filled(outcome: _Outcome, spread: RebuildSpread, *names: str) -> _Outcome:
    return outcome.model_copy(update={name: getattr(spread, name) for name in names if getattr(outcome, name) is None})
