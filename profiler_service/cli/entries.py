"""`entries`, `samples` and `export-samples`: the entries of a table, and the rounds, visits and samples behind them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table as Grid

from models.spec.errors import UnknownNameError
from models.spec.kinds import kind_names
from models.spec.measurements import Flag, Measurement
from models.spec.operators import OperatorSpec
from models.terminal import Json, emit, print_unwrapped
from profiler_service.cli.arguments import Database, TableId, TableName, load_table, require_id
from profiler_service.cli.runtime import load_settings, open_existing_store

if TYPE_CHECKING:
    from profiler_service.measure.values import RoundValue
    from profiler_service.measure.visits import Visit
    from profiler_service.raw_data import EntrySamples


class Sorting(StrEnum):
    """Number or text by which entries are sorted."""

    LABEL = "label"
    VALUE = "value"
    STDERR = "stderr"
    MACS = "macs"
    MS_PER_GMAC = "ms-per-gmac"


def entries(
    table: TableName,
    database: Database = None,
    kind: Annotated[str | None, typer.Option(metavar="KIND", help="Only operators of this kind.")] = None,
    stride: Annotated[int | None, typer.Option(help="Only operators of this stride.")] = None,
    in_channels: Annotated[int | None, typer.Option(help="Only operators with this number of input channels.")] = None,
    label: Annotated[str | None, typer.Option(metavar="TEXT", help="Only entries whose label contains this text.")] = None,
    flag: Annotated[Flag | None, typer.Option(help="Only entries with this flag.")] = None,
    sort: Annotated[
        Sorting, typer.Option(help="Sort by label in ascending order, or by a number with the largest first.")
    ] = Sorting.LABEL,
    limit: Annotated[int | None, typer.Option(min=1, metavar="N", help="List only the first N.", show_default="all")] = None,
    json: Json = False,
) -> None:
    """List the entries of a table with value, standard error, rounds, flags and key."""
    if kind is not None and kind not in kind_names():
        raise UnknownNameError.of("operator kind", kind, kind_names())
    content = load_table(table, load_settings(database=database))
    found = [
        entry
        for entry in content.entries
        if (flag is None or flag in entry.flags)
        and (label is None or label.lower() in entry.workload.label().lower())
        and _fits(entry, kind=kind, stride=stride, in_channels=in_channels)
    ]
    macs = _macs(found) if sort in (Sorting.MACS, Sorting.MS_PER_GMAC) else {}
    ordered = _sorted(found, sort, macs)
    shown = ordered[:limit]
    document = {
        "table_id": content.info.id(),
        "entries": len(content.entries),
        "matching": len(found),
        "listed": [_document(entry, macs) for entry in shown],
    }
    emit(document, as_json=json, text=lambda console: _show(console, shown, len(found), len(content.entries), macs))


def _fits(entry: Measurement, **wanted: object) -> bool:
    """Whether the entry's operator has those fields; None fits anything."""
    return all(value is None or getattr(entry.workload, name, None) == value for name, value in wanted.items())


def _macs(found: Sequence[Measurement]) -> dict[str, int]:
    """Multiply-adds of operators by their keys. Imports torch, to count them on modules."""
    from models.operators.costs import operator_costs

    return {entry.key(): operator_costs(entry.workload).macs for entry in found if isinstance(entry.workload, OperatorSpec)}


def _ms_per_gmac(entry: Measurement, macs: dict[str, int]) -> float | None:
    count = macs.get(entry.key())
    return None if not count or entry.value_ms is None else entry.value_ms / (count / 1e9)


def _sorted(found: Sequence[Measurement], sort: Sorting, macs: dict[str, int]) -> list[Measurement]:
    """In order; entries without that number come last."""
    if sort is Sorting.LABEL:
        return list(found)  # as tables are
    numbers: dict[Sorting, Callable[[Measurement], float | None]] = {
        Sorting.VALUE: lambda entry: entry.value_ms,
        Sorting.STDERR: lambda entry: entry.stderr_ms,
        Sorting.MACS: lambda entry: macs.get(entry.key()),
        Sorting.MS_PER_GMAC: lambda entry: _ms_per_gmac(entry, macs),
    }
    number = numbers[sort]

    def order(entry: Measurement) -> tuple[bool, float]:
        value = number(entry)
        return value is None, -(value or 0.0)

    return sorted(found, key=order)


def _document(entry: Measurement, macs: dict[str, int]) -> dict[str, Any]:
    document: dict[str, Any] = {
        "key": entry.key(),
        "label": entry.workload.label(),
        "status": entry.status.value,
        "value_ms": entry.value_ms,
        "stderr_ms": entry.stderr_ms,
        "rounds": entry.rounds,
        "flags": [flag.value for flag in entry.flags],
    }
    if macs:
        document |= {"macs": macs.get(entry.key()), "ms_per_gmac": _ms_per_gmac(entry, macs)}
    return document


def _show(console: Console, shown: Sequence[Measurement], matching: int, total: int, macs: dict[str, int]) -> None:
    costs = ("M multiply-adds", "ms per G") if macs else ()
    grid = Grid("key", "label", "value ms", "rounds", *costs, "flags", box=None, pad_edge=False)
    for entry in shown:
        row = [entry.key(), entry.workload.label(), _value(entry), str(entry.rounds or "")]
        if macs:
            ratio = _ms_per_gmac(entry, macs)
            row += [f"{macs.get(entry.key(), 0) / 1e6:.1f}", "" if ratio is None else f"{ratio:.3f}"]
        grid.add_row(*row, ", ".join(entry.flags))
    print_unwrapped(console, grid)
    more = f", {len(shown)} shown" if len(shown) < matching else ""
    console.print(f"{matching} of {total} entries{more}", style="dim")


def _value(entry: Measurement) -> str:
    if entry.value_ms is None:
        return entry.status.value
    return f"{entry.value_ms:.4f}" + ("" if entry.stderr_ms is None else f" ± {entry.stderr_ms:.4f}")


def samples(
    table: TableId,
    key: Annotated[str, typer.Argument(metavar="KEY", help="Key of an entry, or its first digits; `entries` lists the keys.")],
    database: Database = None,
    json: Json = False,
) -> None:
    """Show the rounds and visits behind the value of an entry. With --json, print every sample."""
    from profiler_service.raw_data import entry_samples

    settings = load_settings(database=database)
    with open_existing_store(settings) as store:
        found = entry_samples(store, require_id(table), key)
    emit(found, as_json=json, text=lambda console: _show_samples(console, found))


def export_samples(
    table: TableId,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="File to write.", show_default="TABLE-samples.parquet"),
    ] = None,
    database: Database = None,
    json: Json = False,
) -> None:
    """Write all visits of a table with their samples to a Parquet file, one row per visit (docs/columns.md)."""
    from profiler_service.raw_data import write_samples

    settings = load_settings(database=database)
    path = output or Path(f"{require_id(table)}-samples.parquet")
    with open_existing_store(settings) as store:
        visits = write_samples(store, require_id(table), path)
    document = {"path": str(path), "table_id": table, "visits": visits}
    emit(document, as_json=json, text=lambda console: console.print(f"{visits} visits written to {path}"))


def _show_samples(console: Console, found: EntrySamples) -> None:
    entry = found.measurement
    console.print(f"{found.label}   key {found.key}   table {found.table_id}", markup=False)
    if entry.value_ms is None:
        console.print(f"{entry.status.value}: {entry.message}", markup=False)
    else:
        error = "" if entry.stderr_ms is None else f" ± {entry.stderr_ms:.4f}"
        console.print(f"value {entry.value_ms:.4f}{error} ms, {entry.rounds} rounds count", markup=False)
    if not found.visits:
        console.print("the database has no visits of this entry: it was imported, or failed before it was timed")
        return
    print_unwrapped(console, _rounds(found))
    print_unwrapped(console, _visits(found))


def _rounds(found: EntrySamples) -> Grid:
    grid = Grid("round", "value ms", "plain ms", "base ms", "sentinel ms", "", box=None, pad_edge=False)
    for one in found.rounds:
        numbers = (f"{ms:.4f}" for ms in (one.value_ms, one.plain_ms, one.base_ms, one.sentinel_ms))
        grid.add_row(str(one.round), *numbers, _remark(one))
    return grid


def _visits(found: EntrySamples) -> Grid:
    grid = Grid("visit of", "round", "group", "samples", "median ms", "sentinel ms", "", box=None, pad_edge=False)
    for one in found.visits:
        visit = one.visit
        grid.add_row(
            one.role,
            str(visit.round),
            str(visit.visit),
            str(len(visit.samples_ms)),
            f"{one.median_ms:.4f}",
            f"{visit.sentinel_ms:.4f}",
            ", ".join(filter(None, (_remark(visit), *_conditions(visit)))),
        )
    return grid


def _remark(one: RoundValue | Visit) -> str:
    """Reasons against a round or visit."""
    return ", ".join(filter(None, ("" if one.accepted else "not accepted", "throttled" if one.throttled else "")))


def _conditions(visit: Visit) -> list[str]:
    """Conditions of device and host during the visit, where they are of interest."""
    found = []
    if visit.host is not None and visit.host.busy:
        found.append(visit.host.busy)
    if (device := visit.device) is not None:
        found.append(f"{device.clock_before_mhz:.0f} MHz")
        found += [f"{device.set_aside} samples set aside"] if device.set_aside else []
        found += [f"{device.other_processes} other processes"] if device.other_processes else []
    return found
