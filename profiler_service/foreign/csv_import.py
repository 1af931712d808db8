"""A CSV file of latencies, matched to the operators of a search space."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from models.spaces.base import SearchSpace
from models.spaces.published import PublishedTable
from models.spaces.registry import space_label
from models.spec.base import Record
from models.spec.measurements import ProtocolName
from models.spec.operators import OperatorSpec
from profiler_service.foreign.csv_file import CsvFile, CsvRow
from profiler_service.foreign.sources import Latency, Repeat, SourceFile, distinct, require_varied

PROVENANCE: Mapping[str, str] = {
    "origin": "a CSV file from elsewhere; nothing in it was measured by this service",
    "uncertainty": "not known: the file has one value for each operator",
    "protocol": "not known: the file does not say how times were taken; the table is filed under isolated",
}

_SHAPE = ("kind", "in_channels", "out_channels", "height", "width")
_DTYPES = {"fp32": "float32", "fp16": "float16", "half": "float16", "bf16": "bfloat16"}
_TRUTH = {"true": "1", "yes": "1", "false": "0", "no": "0"}


class Unmatched(Record):
    """A row that is no operator of the space.

    Attributes:
        row: its number in the file.
        reason: what does not fit.
        fields: what the row states of its operator.
        ms: its value.
    """

    row: int
    reason: str
    fields: dict[str, int | str]
    ms: float


class Absent(Record):
    """An operator of the space that no row names."""

    label: str
    key: str


class ImportReport(Record):
    """What became of the rows of a CSV file.

    Attributes:
        rows: number of rows with a value.
        matched: number of operators that have a value now.
        grid: number of operators of the space.
        unmatched: rows that are no operator of the space; they are not imported.
        absent: operators of the space that no row names; they have no value.
        repeats: rows that repeat an earlier one with the same value.
        encoding, delimiter, decimal: how the file was read.
        ms_column: name of the column of milliseconds.
        ignored_columns: columns that were not read.
    """

    rows: int
    matched: int
    grid: int
    unmatched: tuple[Unmatched, ...]
    absent: tuple[Absent, ...]
    repeats: tuple[Repeat, ...]
    encoding: str
    delimiter: str
    decimal: str
    ms_column: str
    ignored_columns: tuple[str, ...]


@dataclass(frozen=True)
class Match:
    """What a row stands for: an operator, or the reason why it is none of the space's."""

    operator: OperatorSpec | None
    reason: str = ""


class OperatorIndex:
    """The operators of a space by what a row may state.

    An operator matches a row if everything that the row states is the operator's. So a column that the file lacks does not
    matter where only one operator fits.
    """

    def __init__(self, space: SearchSpace) -> None:
        self.operators = space.operators()
        self._by_key = {operator.key(): operator for operator in self.operators}
        self._by_label: dict[str, list[OperatorSpec]] = defaultdict(list)
        self._by_shape: dict[tuple[int | str, ...], list[OperatorSpec]] = defaultdict(list)
        for operator in self.operators:
            self._by_label[_plain_label(operator.label())].append(operator)
            shape = (operator.in_channels, operator.out_channels, operator.height, operator.width)
            self._by_shape[_plain_kind(operator.kind), *shape].append(operator)
        self._kinds = {_plain_kind(operator.kind) for operator in self.operators}

    def match(self, source: SourceFile, row: CsvRow) -> Match:
        """The operator of that row. Raises TableFileError if several fit."""
        candidates, reason = self._candidates(row.fields)
        if not candidates:
            return Match(None, reason)
        fitting = [operator for operator in candidates if not _differing(operator, row.fields)]
        if not fitting:
            differing = _differing(candidates[0], row.fields)
            stated = ", ".join(f"{name} {row.fields[name]}" for name in differing)
            others = f" and {len(candidates) - 1} like it, but none has" if len(candidates) > 1 else ", but that does not have"
            return Match(None, f"the space has {candidates[0].label()}{others} {stated}")
        if len(fitting) > 1:
            labels = " and ".join(operator.label() for operator in fitting[:2])
            apart = _apart(fitting)
            raise source.refuse(
                f"row {row.row}",
                f"it fits {len(fitting)} operators of the space, such as {labels}",
                f"Add a column that tells them apart: {', '.join(apart) or 'label'}.",
            )
        return Match(fitting[0])

    def _candidates(self, fields: Mapping[str, int | str]) -> tuple[list[OperatorSpec], str]:
        """Operators that the row may mean, and otherwise why there are none."""
        if "key" in fields:
            operator = self._by_key.get(str(fields["key"]).lower())
            return ([operator], "") if operator else ([], f"the space has no operator of key {fields['key']}")
        if "label" in fields:
            found = self._by_label.get(_plain_label(str(fields["label"])), [])
            return found, f"the space has no operator of label {fields['label']!r}"
        kind = _plain_kind(str(fields["kind"]))
        if kind not in self._kinds:
            return [], f"the space has no operator of kind {fields['kind']!r}"
        shape = tuple(fields[name] for name in _SHAPE[1:])
        found = self._by_shape.get((kind, *shape), [])
        return found, "the space has no {} {}→{} @{}×{}".format(fields["kind"], *shape)


def match_rows(source: SourceFile, file: CsvFile, space: SearchSpace) -> tuple[PublishedTable, ImportReport]:
    """The rows as operators of that space, and what became of each.

    Args:
        source: the file, for messages and provenance.
        file: its contents.
        space: whose operators the rows are. Where no row is a join, it is the space's earlier grid without them.

    Raises:
        TableFileError: no row matches; a row matches several operators; an operator has two different values; or all values
            are the same.
    """
    index = OperatorIndex(space)
    matches = {row.row: index.match(source, row) for row in file.rows}
    kept, repeats = distinct(source, (_latency(file, row, matches[row.row]) for row in file.rows))
    require_varied(source, kept)
    entries = [(operator, latency.ms) for latency in kept if (operator := matches[latency.row].operator) is not None]
    unmatched = tuple(
        Unmatched(row=row.row, reason=matches[row.row].reason, fields=dict(row.fields), ms=row.ms)
        for row in file.rows
        if matches[row.row].operator is None
    )
    if not entries:
        raise source.refuse(
            f"row {unmatched[0].row}",
            f"no row is an operator of {space_label(space.spec)}, nor is this one: {unmatched[0].reason}",
            "Check --space, --input-size and the other options of the space.",
        )
    given = {operator.key() for operator, _ in entries}
    earlier = space.without_joins()
    if earlier is not None and given <= {operator.key() for operator in earlier.operators()}:
        space, index = earlier, OperatorIndex(earlier)
    report = ImportReport(
        rows=len(file.rows),
        matched=len(entries),
        grid=len(index.operators),
        unmatched=unmatched,
        absent=tuple(Absent(label=o.label(), key=o.key()) for o in index.operators if o.key() not in given),
        repeats=tuple(repeats),
        encoding=file.encoding,
        delimiter=file.delimiter,
        decimal=file.decimal,
        ms_column=file.ms_column,
        ignored_columns=file.ignored,
    )
    provenance = {**PROVENANCE, "sha256": source.digest, "column": file.ms_column}
    return PublishedTable(space.spec, tuple(entries), ProtocolName.ISOLATED, provenance), report


def _latency(file: CsvFile, row: CsvRow, match: Match) -> Latency:
    """The row's value under its operator's key, or under all that it states."""
    if match.operator is not None:
        return Latency(row.row, file.ms_column, match.operator.key(), match.operator.label(), row.ms)
    stated = " ".join(f"{name}={value}" for name, value in sorted(row.fields.items()))
    return Latency(row.row, file.ms_column, f"unmatched {stated.casefold()}", stated, row.ms)


def _differing(operator: OperatorSpec, fields: Mapping[str, int | str]) -> list[str]:
    """Names of what the row states and the operator does not have."""
    stated: dict[str, object] = {
        **{name: getattr(operator, name) for name in (*_SHAPE[1:], "stride", "batch")},
        **operator.attributes,
        "kind": _plain_kind(operator.kind),
        "key": operator.key(),
        "label": _plain_label(operator.label()),
        "dtype": operator.dtype,
    }
    return [name for name, value in fields.items() if name not in stated or _value(name, value) != _value(name, stated[name])]


def _apart(operators: Iterable[OperatorSpec]) -> list[str]:
    """Names of fields in which the operators differ and that a column can hold."""
    seen: dict[str, set[object]] = defaultdict(set)
    for operator in operators:
        fields = {name: getattr(operator, name) for name in (*_SHAPE, "stride", "batch", "dtype")}
        for name, value in {**fields, **operator.attributes}.items():
            seen[name].add(value)
    return [name for name, values in seen.items() if len(values) > 1]


def _value(name: str, value: object) -> str:
    """A text that is the same for equal values of that field."""
    text = str(value)
    if name == "kind":
        return _plain_kind(text)
    if name == "label":
        return _plain_label(text)
    text = text.strip().casefold()
    if name == "dtype":
        return _DTYPES.get(text, text)
    return _TRUTH.get(text, re.sub(r"(?<=[0-9])[.,]0+$", "", text))


def _plain_kind(kind: str) -> str:
    """Without regard to case, spaces, hyphens and the sign of multiplication."""
    return re.sub(r"[\s-]+", "_", kind.strip().casefold().replace("×", "x"))


def _plain_label(label: str) -> str:
    """Without regard to case and spaces, with `->` for the arrow and `x` for the sign of multiplication."""
    return " ".join(label.casefold().replace("→", "->").replace("×", "x").split())
