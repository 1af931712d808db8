"""Build-to-build variance: how much engines of one graph differ between builds, and between rounds (docs/measurement.md)."""

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
    """One table entry that was built several times from scratch. Times are in milliseconds.

    Attributes:
        key, label: key and label of the operator.
        value_ms: value in the table; the fractions refer to it.
        between_ms: standard deviation between builds, beyond what runs of one build explain.
        within_ms: standard deviation between rounds of one build.
        builds, rounds, throttled, measured_at: as in `RebuildSpread`, for this entry; null for the value given there.
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
    """One table entry of which at least one build could not be built or timed.

    Attributes:
        key, label: key and label of the operator.
        message: reason of the failure.
        measured_at: time of the failure in UTC; null for the value in `RebuildSpread`.
    """

    key: Key
    label: str
    message: str = ""
    measured_at: UtcTime | None = None


class RebuildSpread(Record):
    """Build-to-build variance: a random sample of a table's entries was built several times from scratch.

    Attributes:
        builds, rounds: builds of each entry and rounds of each build, the fewest of any entry. All builds of an entry were live
            at once and timed round-robin.
        entries: entries of which every build was built and timed.
        failures: entries of which a build failed; null where an earlier release only counted them.
        failed: number of failed entries.
        throttled: whether rounds were used although the device was slow, because there were too few others.
        measured_at: start of the measurement in UTC; of the latest, where entries were measured at different times.
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
        """Keys of the entries that were built several times, or failed, since that time; of all where it is None."""
        outcomes: tuple[RebuiltEntry | FailedRebuild, ...] = (*self.entries, *(self.failures or ()))
        return frozenset(
            outcome.key for outcome in outcomes if since is None or (outcome.measured_at or self.measured_at) >= since
        )

    def fractions(self) -> dict[str, float]:
        """Medians over the entries and the largest value, as fractions of the entries' values; empty without entries."""
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


def merged(known: RebuildSpread, latest: RebuildSpread) -> RebuildSpread:
    """Both as one: the latest outcome of each operator, an entry or a failure. At equal times the outcome in `latest` is used.

    Builds, rounds and throttling follow from the entries of the result. Failures that have only been counted are dropped,
    because later outcomes of the same operators cannot be recognised.
    """
    outcomes: dict[str, RebuiltEntry | FailedRebuild] = {}
    for outcome in sorted((*_outcomes(known), *_outcomes(latest)), key=attrgetter("measured_at")):
        outcomes[outcome.key] = outcome
    ordered = sorted(outcomes.values(), key=attrgetter("label", "key"))
    entries = tuple(outcome for outcome in ordered if isinstance(outcome, RebuiltEntry))
    failures = tuple(outcome for outcome in ordered if isinstance(outcome, FailedRebuild))
    return RebuildSpread(
        builds=min((entry.builds for entry in entries if entry.builds), default=latest.builds),
        rounds=min((entry.rounds for entry in entries if entry.rounds), default=latest.rounds),
        entries=entries,
        failures=failures,
        failed=len(failures),
        throttled=any(entry.throttled for entry in entries),
        measured_at=max(known.measured_at, latest.measured_at),
    )


def _outcomes(spread: RebuildSpread) -> Iterator[RebuiltEntry | FailedRebuild]:
    """Entries and failures, each with the fields that the spread gives for all."""
    for entry in spread.entries:
        yield _filled(entry, spread, "builds", "rounds", "throttled", "measured_at")
    for failure in spread.failures or ():
        yield _filled(failure, spread, "measured_at")


_Outcome = TypeVar("_Outcome", RebuiltEntry, FailedRebuild)


def _filled(outcome: _Outcome, spread: RebuildSpread, *names: str) -> _Outcome:
    return outcome.model_copy(update={name: getattr(spread, name) for name in names if getattr(outcome, name) is None})
