"""`samples` and `export-samples`: what the values of a table were made of."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table as Grid

from models.terminal import Json, emit, print_whole
from profiler_service.cli.options import Database
from profiler_service.cli.runtime import load_settings, open_existing_store
from profiler_service.cli.sources import TableId, require_id

if TYPE_CHECKING:
    from profiler_service.measure.values import RoundValue
    from profiler_service.measure.visits import Visit
    from profiler_service.raw_data import EntrySamples


def samples(
    table: TableId,
    key: Annotated[
        str, typer.Argument(metavar="KEY", help="The key of an entry, or the beginning of it; `entries` lists them.")
    ],
    database: Database = None,
    json: Json = False,
) -> None:
    """Show the rounds and visits that an entry's value was made of; with --json every sample."""
    from profiler_service.raw_data import entry_samples

    settings = load_settings(database=database)
    with open_existing_store(settings) as store:
        found = entry_samples(store, require_id(table), key)
    emit(found, as_json=json, text=lambda console: _show(console, found))


def export_samples(
    table: TableId,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="F.parquet", help="File to write.", show_default="TABLE-samples.parquet"),
    ] = None,
    database: Database = None,
    json: Json = False,
) -> None:
    """Write every visit of a table with its samples to a Parquet file, one row per visit (docs/columns.md)."""
    from profiler_service.sample_files import write_samples

    settings = load_settings(database=database)
    path = output or Path(f"{require_id(table)}-samples.parquet")
    with open_existing_store(settings) as store:
        visits = write_samples(store, require_id(table), path)
    document = {"path": str(path), "table_id": table, "visits": visits}
    emit(document, as_json=json, text=lambda console: console.print(f"{visits} visits written to {path}"))


def _show(console: Console, found: EntrySamples) -> None:
    entry = found.measurement
    console.print(f"{found.label}   key {found.key}   table {found.table_id}", markup=False)
    if entry.value_ms is None:
        console.print(f"{entry.status.value}: {entry.message}", markup=False)
    else:
        error = "" if entry.stderr_ms is None else f" ± {entry.stderr_ms:.4f}"
        console.print(f"value {entry.value_ms:.4f}{error} ms, {entry.rounds} rounds count", markup=False)
    if not found.visits:
        console.print("the database keeps no visits of it: it was imported, or failed before it was timed")
        return
    print_whole(console, _rounds(found))
    print_whole(console, _visits(found))


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
    """What speaks against a round or visit."""
    return ", ".join(filter(None, ("" if one.accepted else "not accepted", "throttled" if one.throttled else "")))


def _conditions(visit: Visit) -> list[str]:
    """What device and host did meanwhile, where it is worth telling."""
    found = []
    if visit.host is not None and visit.host.busy:
        found.append(visit.host.busy)
    if (device := visit.device) is not None:
        found.append(f"{device.clock_before_mhz:.0f} MHz")
        found += [f"{device.set_aside} samples set aside"] if device.set_aside else []
        found += [f"{device.other_processes} other processes"] if device.other_processes else []
    return found
