"""Suspicious entries of a table: larger operators that take less time, and entries with flags or failures.

A larger operator that takes less time than a smaller one is possible (kernels differ), but in a table it mostly is noise. So a
fall counts where it is significant and repeats from round to round.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from models.spec.base import Record, canonical_json
from models.spec.kinds import kind_info
from models.spec.measurements import Flag, Measurement, ProtocolName, Status
from models.spec.operators import OperatorSpec
from models.spec.tables import Table, TableInfo
from models.spec.verdicts import scale_reasons
from profiler_service.comparison import FALSE_DISCOVERY_RATE, Difference, UncertainValue, adjusted, difference, falling
from profiler_service.measure.values import RoundValue, counted_rounds

PLAIN_APART = 0.2
"""Largest difference between plain and normalised value, as a fraction, that is not reported."""

REPEATED = 0.75
"""Share of the rounds in which a value must fall for the fall to repeat."""

LEAST_ROUNDS = 2
"""Rounds with both operators that are needed to decide whether a fall repeats."""

RoundsOf = Callable[[Sequence[OperatorSpec]], Mapping[str, Sequence[RoundValue]]]
"""Gives the rounds of operators, by their keys."""


class Inversion(Record):
    """Two operators that differ in only one size, of which the larger takes less time.

    Attributes:
        grows: what differs: `in_channels`, `out_channels`, `channels` of a kind that keeps them, or `resolution`.
        smaller, larger: labels of the operators; smaller_key, larger_key: their keys.
        smaller_ms, larger_ms: their values.
        relative: (larger − smaller) / smaller, a negative fraction.
        p: probability of a fall as deep by chance.
        adjusted_p: the smallest false-discovery rate at which it is significant.
        rounds: in which both have a value, and of these, how many fall; None where no rounds are known.
        repeats: whether the value falls in most of these rounds; null where that is unknown.
    """

    grows: str
    smaller: str
    smaller_key: str
    larger: str
    larger_key: str
    smaller_ms: float
    larger_ms: float
    relative: float
    p: float
    adjusted_p: float
    rounds: int | None = None
    rounds_falling: int | None = None
    repeats: bool | None = None


class LintEntry(Record):
    """An entry that a finding is about; `detail` may be empty."""

    label: str
    key: str
    detail: str = ""


class LintFinding(Record):
    """One thing that a reader of the table should know.

    Attributes:
        name: what was looked at: `failed`, `plain`, `scale`, a flag …
        text: one sentence.
        entries: that it is about; empty where it is about the table.
    """

    name: str
    text: str
    entries: tuple[LintEntry, ...] = ()


class LintReport(Record):
    """What was found in a table.

    Attributes:
        table_id, entries: which table, and how many entries it has.
        fdr: false-discovery rate of the inversions.
        pairs, tested: pairs of operators that differ in only one size, and how many of them could be tested for significance.
        inversions: significant falls that repeat, or whose rounds are unknown; largest fall first.
        not_repeated: significant falls that most rounds do not show.
        findings: everything else.
    """

    table_id: str
    entries: int
    fdr: float
    pairs: int
    tested: int
    inversions: tuple[Inversion, ...]
    not_repeated: int
    findings: tuple[LintFinding, ...]


def lint(
    table: Table,
    rounds_of: RoundsOf | None = None,
    *,
    fdr: float = FALSE_DISCOVERY_RATE,
    plain_apart: float = PLAIN_APART,
) -> LintReport:
    """What looks wrong in a table.

    Args:
        table: the table.
        rounds_of: gives the rounds of its operators; None where they are not stored.
        fdr: false-discovery rate of inversions.
        plain_apart: how far plain and normalised value may be apart, as a fraction.
    """
    pairs = list(neighbours(table.entries))
    tested = [
        (grows, small, large, found)
        for grows, small, large in pairs
        if (found := _difference(small, large, table.info)) is not None
    ]
    falls = _significant_falls(tested, fdr)
    if rounds_of is not None and falls:
        falls = _with_rounds(falls, table, rounds_of)
    inversions = [fall for fall in falls if fall.repeats is not False]
    return LintReport(
        table_id=table.info.id(),
        entries=len(table.entries),
        fdr=fdr,
        pairs=len(pairs),
        tested=len(tested),
        inversions=tuple(sorted(inversions, key=lambda fall: fall.relative)),
        not_repeated=len(falls) - len(inversions),
        findings=tuple(_findings(table, plain_apart)),
    )


def neighbours(entries: Sequence[Measurement]) -> Iterator[tuple[str, Measurement, Measurement]]:
    """Pairs of entries with positive values that differ in only one size, and which size grows from the first to the second.

    Each is paired with the next larger one that there is. Operators that do nothing are left out: next to one that does
    something, any growth may cost less than none.
    """
    lines: defaultdict[tuple[str, str], list[tuple[int, Measurement]]] = defaultdict(list)
    for entry in entries:
        operator = entry.workload
        if isinstance(operator, OperatorSpec) and entry.value_ms and not _does_nothing(operator):
            for grows, size, rest in _sizes(operator):
                lines[grows, canonical_json(rest)].append((size, entry))
    for (grows, _), line in sorted(lines.items()):
        for (size, small), (larger_size, large) in pairwise(sorted(line, key=lambda sized: (sized[0], sized[1].key()))):
            if size < larger_size and _sides_grow(small.workload, large.workload):
                yield grows, small, large


def _sizes(operator: OperatorSpec) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """What may grow of an operator, how large it is, and everything else, which must be the same."""
    fields = operator.model_dump(mode="json")

    def without(*names: str) -> dict[str, Any]:
        return {name: value for name, value in fields.items() if name not in names}

    if kind_info(operator.kind).keeps_channels:
        yield "channels", operator.in_channels, without("in_channels", "out_channels")
    else:
        yield "in_channels", operator.in_channels, without("in_channels")
        yield "out_channels", operator.out_channels, without("out_channels")
    yield "resolution", operator.height * operator.width, without("height", "width")


def _sides_grow(small: object, large: object) -> bool:
    """Whether no side shrinks where the area grows."""
    if not isinstance(small, OperatorSpec) or not isinstance(large, OperatorSpec):
        return False
    return small.height <= large.height and small.width <= large.width


def _does_nothing(operator: OperatorSpec) -> bool:
    return kind_info(operator.kind).identity_if_unchanged and operator.input_shape == operator.output_shape


def _difference(small: Measurement, large: Measurement, info: TableInfo) -> Difference | None:
    one, other = UncertainValue.of(small, info), UncertainValue.of(large, info)
    return None if one is None or other is None else difference(one, other)  # of one table, so of one scale


def _significant_falls(tested: Sequence[tuple[str, Measurement, Measurement, Difference]], fdr: float) -> list[Inversion]:
    p_values = falling([found for *_, found in tested])
    falls = []
    for (grows, small, large, _), p, adjusted_p in zip(tested, p_values, adjusted(p_values), strict=True):
        if adjusted_p <= fdr and small.value_ms and large.value_ms:
            falls.append(
                Inversion(
                    grows=grows,
                    smaller=small.workload.label(),
                    smaller_key=small.key(),
                    larger=large.workload.label(),
                    larger_key=large.key(),
                    smaller_ms=small.value_ms,
                    larger_ms=large.value_ms,
                    relative=large.value_ms / small.value_ms - 1,
                    p=p,
                    adjusted_p=adjusted_p,
                )
            )
    return falls


def _with_rounds(falls: Sequence[Inversion], table: Table, rounds_of: RoundsOf) -> list[Inversion]:
    keys = {key for fall in falls for key in (fall.smaller_key, fall.larger_key)}
    operators = [entry.workload for entry in table.entries if entry.key() in keys]
    found = rounds_of([operator for operator in operators if isinstance(operator, OperatorSpec)])
    values = {
        key: {value.round: value.value_ms for value in counted_rounds(rounds, LEAST_ROUNDS)} for key, rounds in found.items()
    }
    checked = []
    for fall in falls:
        small, large = values.get(fall.smaller_key, {}), values.get(fall.larger_key, {})
        both = small.keys() & large.keys()
        falling_rounds = sum(large[number] < small[number] for number in both)
        repeats = falling_rounds >= REPEATED * len(both) if len(both) >= LEAST_ROUNDS else None
        checked.append(fall.model_copy(update={"rounds": len(both), "rounds_falling": falling_rounds, "repeats": repeats}))
    return checked


def _findings(table: Table, plain_apart: float) -> Iterator[LintFinding]:
    for reason in scale_reasons(table.info):
        yield LintFinding(name=reason.name, text=reason.text)
    failed = [_note(entry, entry.status.value) for entry in table.entries if entry.status is not Status.OK]
    if failed:
        yield LintFinding(name="failed", text=f"{len(failed)} entries have no value", entries=tuple(failed))
    good = [entry for entry in table.entries if entry.value_ms is not None]
    values = {entry.value_ms for entry in good}
    if good and values == {0.0}:
        yield LintFinding(name="zero", text=f"all {len(good)} values are zero")
    elif len(good) > 1 and len(values) == 1:
        yield LintFinding(name="constant", text=f"all {len(good)} values are the same: {values.pop():g} ms")
    if not table.entries:
        yield LintFinding(name="empty", text="the table has no entries")
    flags = Counter(flag for entry in table.entries for flag in entry.flags)
    for flag in Flag:
        if flags[flag]:
            entries = tuple(_note(entry) for entry in table.entries if flag in entry.flags)
            yield LintFinding(name=flag.value, text=f"{flags[flag]} entries are flagged {flag.value}", entries=entries)
    if table.info.protocol is ProtocolName.IN_CONTEXT:
        apart = tuple(_plain_apart(good, plain_apart))
        if apart:
            text = f"{len(apart)} plain values are more than {plain_apart:.0%} from the normalised ones"
            yield LintFinding(name="plain", text=text, entries=apart)


def _plain_apart(entries: Sequence[Measurement], limit: float) -> Iterator[LintEntry]:
    for entry in entries:
        if entry.value_ms and entry.plain_ms is not None and abs(entry.plain_ms / entry.value_ms - 1) > limit:
            yield _note(entry, f"{entry.value_ms:.4f} ms, plain {entry.plain_ms:.4f} ms")


def _note(entry: Measurement, detail: str = "") -> LintEntry:
    return LintEntry(label=entry.workload.label(), key=entry.key(), detail=detail)
