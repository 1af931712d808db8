"""Whether numbers can be trusted: the uncertainty of one value, and the verdict on a table with its reasons in numbers."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from enum import StrEnum
from math import isfinite, sqrt
from typing import Protocol

from models.plugins import version_differences
from models.spec.base import Record
from models.spec.measurements import Flag, Measurement, ProtocolName
from models.spec.scale import CheckOutcome
from models.spec.tables import Table, TableInfo

PROCESSES_SD = 0.005
"""Standard deviation between processes beyond what the rounds of one explain, as a fraction of the value: another process has
its memory elsewhere, and its engines may differ. Measured on processors by `make coverage` (docs/measurement.md)."""

MOST_DEGREES = 5
"""Degrees of freedom of one standard error, however many rounds it comes from.

The error of a median is itself known less well than a standard deviation: its relative variance over 4, 6, 10, 16 and 40
normal rounds is that of 2.8, 3.6, 4.2, 4.9 and 7.0 degrees of freedom. And rounds end when the error happens to be small. With
rounds − 1, at most 5, no budget calls more than 1.01 times as much significant as it should at p ≤ 0.05, for noise of 0.5 to
15 % between rounds; with rounds − 1 alone it is 1.4 times at p ≤ 0.05 and 8 times at p ≤ 0.0001 (thorough budget).
"""


def degrees(rounds: int) -> int:
    """Degrees of freedom of a standard error that comes from so many rounds, two at the least."""
    return max(min(rounds - 1, MOST_DEGREES), 1)


def processes_sd(info: TableInfo) -> float:
    """Standard deviation of values between processes, as a fraction: `PROCESSES_SD`, or the table's build-to-build variance
    where that is larger.
    """
    builds = 0.0 if info.rebuild_spread is None else info.rebuild_spread.fractions().get("between_builds", 0.0)
    return max(PROCESSES_SD, builds)


def value_stderr_ms(entry: Measurement, info: TableInfo) -> float:
    """Standard error of an entry's value as another process would find it, on any scale of the target.

    It joins, independent of each other: the spread between rounds, of which a 95 % interval is made with Student's t of
    `degrees`; what processes differ by; and the uncertainty of the scale.

    Raises:
        ValueError: the entry has no value.
    """
    if entry.value_ms is None:
        raise ValueError(f"{entry.workload.label()} has no value")
    scale = 0.0 if info.scale is None else info.scale.relative_stderr
    relative = sqrt(processes_sd(info) ** 2 + scale**2)
    return sqrt((entry.stderr_ms or 0.0) ** 2 + (relative * entry.value_ms) ** 2)


NOISY_STDERR, UNUSABLE_STDERR = 0.03, 0.15
"""Median relative standard error of a table's entries, as fractions."""

NOISY_SPREAD, UNUSABLE_SPREAD = 0.10, 0.50
"""Median spread between an entry's rounds, as fractions of the value."""

MOST_UNCONVERGED, MOST_CONTAMINATED, MOST_THROTTLED = 0.10, 0.05, 0.05
"""Shares of entries with a flag that a trustworthy table may have."""

MOST_FAILED, MOST_BELOW_RESOLUTION = 0.10, 0.50
"""Shares of entries that may have failed, and that may be too short to tell from nothing."""

UNUSABLE_RATIO = 0.10
"""Largest difference between plain and scaled values, as a fraction, above which the values are unusable."""


class TrustLevel(StrEnum):
    """How far values can be trusted, from best to worst."""

    TRUSTWORTHY = "trustworthy"
    """No reason speaks against the values."""
    NOISY = "noisy"
    """Values scatter more than they should, or some were measured on a busy or throttled machine."""
    UNSETTLED = "unsettled"
    """The scale of milliseconds on this target is not reliable yet, a check contradicts it, or a plugin has another version."""
    UNUSABLE = "unusable"
    """There are no values, or a check shows that they are wrong."""

    @property
    def rank(self) -> int:
        """0 for the best."""
        return list(TrustLevel).index(self)

    def meets(self, required: TrustLevel) -> bool:
        """Whether this is at least as good."""
        return self.rank <= required.rank


class Reason(Record):
    """One reason against full trust.

    Attributes:
        name: what was examined: `scale`, `repeatability`, `unconverged` …
        level: best verdict that the reason allows.
        text: one sentence with the numbers, and with the next step where there is one.
        value, limit: measured number and its limit, as fractions unless the text states a unit.
    """

    name: str
    level: TrustLevel
    text: str
    value: float | None = None
    limit: float | None = None


class Verdict(Record):
    """The verdict on a result: the worst level that any reason allows, or `trustworthy` without a reason.

    Attributes:
        level: the verdict.
        reasons: reasons against full trust, the worst first.
    """

    level: TrustLevel
    reasons: tuple[Reason, ...] = ()

    @classmethod
    def of(cls, reasons: Iterable[Reason]) -> Verdict:
        """The verdict that those reasons allow, worst reasons first."""
        ordered = tuple(sorted(reasons, key=lambda reason: -reason.level.rank))
        return cls(level=ordered[0].level if ordered else TrustLevel.TRUSTWORTHY, reasons=ordered)

    def lines(self) -> list[str]:
        """For people: the word, then one line for each reason."""
        return [f"verdict: {self.level.value}", *(f"  {reason.text}" for reason in self.reasons)]


def table_verdict(table: Table) -> Verdict:
    """Whether a table's values can be trusted, by its scale, its check and its entries."""
    return Verdict.of([*scale_reasons(table.info), *entry_reasons(table.entries)])


def scale_reasons(info: TableInfo) -> list[Reason]:
    """Reasons against a table's milliseconds."""
    if info.target.options.get("origin") == "imported":
        text = "the table was imported: nothing is known about how it was measured"
        return [Reason(name="origin", level=TrustLevel.UNSETTLED, text=text)]
    differences = version_differences(info.provenance)
    reasons = [Reason(name="plugins", level=TrustLevel.UNSETTLED, text=text) for text in differences]
    if info.protocol is ProtocolName.IN_CONTEXT:
        why = "no visit has measured the sentinel on this target yet" if info.scale is None else info.scale.unsettled
        if why:
            reasons.append(Reason(name="scale", level=TrustLevel.UNSETTLED, text=f"scale unsettled: {why}"))
    if (check := info.check) is not None and check.outcome is CheckOutcome.DISAGREES:
        off, certain = abs((check.ratio or 0.0) - 1), max(UNUSABLE_RATIO, 3 * (check.uncertainty or 0.0))
        level = TrustLevel.UNUSABLE if off > certain else TrustLevel.UNSETTLED
        limit = UNUSABLE_RATIO if level is TrustLevel.UNUSABLE else None
        reasons.append(Reason(name="check", level=level, text=check.message, value=off, limit=limit))
    return reasons


class Judged(Protocol):
    """What a verdict looks at in one entry; see `Measurement`."""

    @property
    def value_ms(self) -> float | None:
        """Table value."""

    @property
    def stderr_ms(self) -> float | None:
        """Its standard error."""

    @property
    def between_round_spread(self) -> float | None:
        """Spread between rounds, as a fraction."""

    @property
    def flags(self) -> tuple[Flag, ...]:
        """Limitations."""


def entry_reasons(entries: Sequence[Judged], what: str = "entries") -> list[Reason]:
    """Reasons against the values of those measurements.

    Args:
        entries: operators or networks, failed ones among them.
        what: what messages call them.
    """
    good = [entry for entry in entries if entry.value_ms is not None]
    if not any(entry.value_ms for entry in good):
        text = f"none of the {what} has a value above zero"
        return [Reason(name="values", level=TrustLevel.UNUSABLE, text=text, value=0)]
    reasons = []
    stderr = [entry.stderr_ms / entry.value_ms for entry in good if entry.stderr_ms is not None and entry.value_ms]
    reasons += _median(
        "uncertainty",
        f"the values of the {what} are uncertain by {{:.1%}} in the median",
        stderr,
        NOISY_STDERR,
        UNUSABLE_STDERR,
    )
    spread = [entry.between_round_spread for entry in good if entry.between_round_spread is not None]
    text = f"the rounds of the {what} differ by {{:.1%}} in the median"
    reasons += _median("repeatability", text, spread, NOISY_SPREAD, UNUSABLE_SPREAD)
    again = "; the same command measures them again on a quiet machine"
    for flag, most, text in (
        (Flag.UNCONVERGED, MOST_UNCONVERGED, "did not reach the standard error that the budget requires"),
        (Flag.CONTAMINATED, MOST_CONTAMINATED, "were measured while the machine was busy" + again),
        (Flag.THROTTLED, MOST_THROTTLED, "were measured on a throttled device"),
        (Flag.BELOW_RESOLUTION, MOST_BELOW_RESOLUTION, "take too little to be told from nothing"),
    ):
        count = sum(flag in entry.flags for entry in good)
        if count > most * len(good):
            share = count / len(good)
            line = f"{count} of {len(good)} {what} {text}"
            reasons.append(Reason(name=flag.value, level=TrustLevel.NOISY, text=line, value=share, limit=most))
    if (failed := len(entries) - len(good)) > MOST_FAILED * len(entries):
        line = f"{failed} of {len(entries)} {what} failed"
        reasons.append(Reason(name="failed", level=TrustLevel.NOISY, text=line, value=failed / len(entries), limit=MOST_FAILED))
    return reasons


def _median(name: str, text: str, values: Sequence[float], noisy: float, unusable: float) -> list[Reason]:
    """A reason, if the median of the values is above a limit."""
    if not values or (value := statistics.median(values)) <= noisy:
        return []
    level = TrustLevel.UNUSABLE if value > unusable else TrustLevel.NOISY
    limit = unusable if level is TrustLevel.UNUSABLE else noisy
    line = f"{text.format(value)} (limit {limit:.0%})"
    # A quotient by a value near zero may be beyond floats, and a record has none that are not finite.
    return [Reason(name=name, level=level, text=line, value=value if isfinite(value) else None, limit=limit)]
