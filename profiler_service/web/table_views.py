"""A table as its page shows it: light rows, how far they can be trusted, and heat maps of operators over widths."""

from __future__ import annotations

import re
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import isfinite
from typing import NamedTuple

from models.spec.measurements import Flag, Status
from models.spec.table_files.columns import TableColumns
from models.spec.tables import TableInfo
from models.spec.verdicts import Verdict, entry_reasons, scale_reasons

MOST_COLUMNS = 240
"""Of a heat map. Where a panel has more widths, neighbours share a column, which shows their median."""

MOST_CELLS = 12_000
"""Of a heat map, which a browser draws in a fraction of a second."""

Cell = tuple[int, int, float | None, str, str, int]
"""Column, row, value or None, state, key of the entry (of the first one where several share the cell), number of entries."""


class Row(NamedTuple):
    """One operator of a table, as far as lists and heat maps need it."""

    key: str
    label: str
    name: str
    in_channels: int
    out_channels: int
    panel: str
    value_ms: float | None
    stderr_ms: float | None
    spread: float | None
    status: str
    flags: tuple[str, ...]

    @property
    def state(self) -> str:
        """What is to be known besides the value: the kind of failure, the flags, or `ok`."""
        if self.value_ms is None:
            return self.status.replace("_", " ")
        if not isfinite(self.value_ms):
            return "no number"
        return ", ".join(flag.replace("_", " ") for flag in self.flags) or Status.OK.value


class Quality(NamedTuple):
    """How far values repeat: medians over entries, as fractions, and how many have each limitation."""

    values: int
    failed: dict[str, int]
    stderr: float | None
    spread: float | None
    flags: dict[str, int]


@dataclass(frozen=True)
class TableView:
    """What is kept of one version of a table."""

    info: TableInfo
    etag: str
    verdict: Verdict
    rows: tuple[Row, ...]
    quality: Quality

    @classmethod
    def of(cls, etag: str, table: TableColumns) -> TableView:
        """That of a table of that tag."""
        rows = tuple(_rows(table))
        verdict = Verdict.of([*scale_reasons(table.info), *entry_reasons(table.qualities())])
        return cls(table.info, etag, verdict, rows, quality_of(rows))

    @cached_property
    def panels(self) -> list[str]:
        """Sizes of maps and strides, as `128×256 /2`, those with the most entries first."""
        return [panel for panel, _ in Counter(row.panel for row in self.rows).most_common()]

    @cached_property
    def names(self) -> list[str]:
        """Of operators, sorted."""
        return sorted({row.name for row in self.rows})

    @cached_property
    def slowest(self) -> list[Row]:
        """The rows with the largest values, largest first."""
        return sorted((row for row in self.rows if row.value_ms is not None), key=lambda row: -(row.value_ms or 0.0))[:10]


_SIZE = re.compile(r" \S+→\S+ @\S+(?: /\d+)?")
"""What a label says of channels, size and stride; of joins, as `64+32→96 @32×64` or `64→64 @16×32→32×64`."""

_COLUMNS = (
    *("key", "label", "in_channels", "out_channels", "height", "width", "stride"),
    *("value_ms", "stderr_ms", "between_round_spread", "status", "flags"),
)


def _rows(table: TableColumns) -> Iterator[Row]:
    panels: dict[tuple[int, int, int], str] = {}
    for key, label, given, made, height, width, stride, value_ms, stderr_ms, spread, status, flags in table.values(*_COLUMNS):
        size = (height, width, stride)
        panel = panels.get(size)
        if panel is None:
            panel = panels[size] = f"{height}×{width} /{stride}"
        name = _SIZE.sub("", label, count=1)
        yield Row(key, label, name, given, made, panel, value_ms, stderr_ms, spread, status, tuple(flags))


def quality_of(rows: Sequence[Row]) -> Quality:
    """Of those rows."""
    good = [row for row in rows if row.value_ms is not None]
    stderr = [row.stderr_ms / row.value_ms for row in good if row.stderr_ms is not None and row.value_ms]
    spread = [row.spread for row in good if row.spread is not None]
    flags = Counter(flag for row in good for flag in row.flags)
    return Quality(
        values=len(good),
        failed=dict(Counter(row.status for row in rows if row.value_ms is None).most_common()),
        stderr=statistics.median(stderr) if stderr else None,
        spread=statistics.median(spread) if spread else None,
        flags={flag.value: flags[flag.value] for flag in Flag if flags[flag.value]},
    )


def heat_map(rows: Iterable[Row], *, kind: str = "value") -> dict[str, object]:
    """The cells of one panel for the page's script: operators down, widths across.

    Args:
        rows: of one panel.
        kind: what values are: `value` in milliseconds, or `ratio`.
    """
    rows = list(rows)
    names = sorted({row.name for row in rows})
    widths = sorted({(row.in_channels, row.out_channels) for row in rows})
    most = max(min(MOST_COLUMNS, MOST_CELLS // max(len(names), 1)), 1)
    share = -(-len(widths) // most) or 1
    columns = [_column(widths[start : start + share]) for start in range(0, len(widths), share)]
    place = {width: index // share for index, width in enumerate(widths)}
    line = {name: index for index, name in enumerate(names)}
    grouped: defaultdict[tuple[int, int], list[Row]] = defaultdict(list)
    for row in rows:
        grouped[place[row.in_channels, row.out_channels], line[row.name]].append(row)
    cells = [_cell(*at, group) for at, group in sorted(grouped.items())]
    positive = [cell[2] for cell in cells if cell[2]]
    return {
        "kind": kind,
        "rows": names,
        "columns": columns,
        "columnTitle": "channels, in→out",
        "cells": cells,
        "least": min(positive, default=1.0),
    }


def _column(widths: Sequence[tuple[int, int]]) -> str:
    first, last = widths[0], widths[-1]
    text = f"{first[0]}→{first[1]}"
    return text if first == last else f"{text} … {last[0]}→{last[1]}"


def _cell(column: int, row: int, group: Sequence[Row]) -> Cell:
    """The group's median; a failure shows wherever one of the group has failed and none has a value."""
    good = [one for one in group if one.value_ms is not None and isfinite(one.value_ms)]
    first = good[0] if good else group[0]
    value = statistics.median(one.value_ms or 0.0 for one in good) if good else None
    return (column, row, value, first.state, first.key, len(group))


SORTS = ("label", "value", "uncertainty", "spread")


def selected(view: TableView, *, name: str, panel: str, state: str, sort: str) -> list[Row]:
    """The rows that a reader asks for, in that order; those without what is sorted by come last."""
    rows = [
        row
        for row in view.rows
        if (not name or row.name == name)
        and (not panel or row.panel == panel)
        and (not state or state in row.flags or row.status == state or (state == "failed" and row.value_ms is None))
    ]
    if sort == "value":
        rows.sort(key=lambda row: -(row.value_ms if row.value_ms is not None else -1.0))
    elif sort == "uncertainty":
        rows.sort(key=lambda row: -_relative(row))
    elif sort == "spread":
        rows.sort(key=lambda row: -(row.spread if row.spread is not None else -1.0))
    return rows


def _relative(row: Row) -> float:
    """Standard error over value; -1 where that is not known."""
    return row.stderr_ms / row.value_ms if row.stderr_ms is not None and row.value_ms else -1.0
