"""`import-csv`: latencies that others measured, from a spreadsheet."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from models.spaces.registry import create_space, space_class
from models.spec.architectures import SpaceSpec
from models.terminal import Json, parse_parameter, parse_size
from profiler_service.cli.arguments import Database
from profiler_service.cli.exchange import save
from profiler_service.cli.import_fasterseg import Device, Runtime, imported_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from profiler_service.foreign.csv_import import ImportReport

SHOWN = 3
"""Rows and operators of each sort that are shown to people; --json lists all."""


def import_csv(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="CSV file with one operator a row, as spreadsheets write it.")],
    device: Device,
    runtime: Runtime,
    space: Annotated[str, typer.Option(metavar="NAME", help="Search space whose operators the rows are.")],
    input_size: Annotated[
        str | None,
        typer.Option(
            metavar="HxW", help="Height and width of the space's input images, such as 128x256.", show_default="the space's own"
        ),
    ] = None,
    classes: Annotated[int, typer.Option(help="Number of classes that the networks predict.")] = 19,
    dtype: Annotated[str, typer.Option(help="float32, float16 or bfloat16.")] = "float32",
    batch: Annotated[int, typer.Option(help="Images per run.")] = 1,
    parameter: Annotated[
        list[str] | None, typer.Option(metavar="NAME=N,…", help="Parameter of the space, such as layers=8. Repeatable.")
    ] = None,
    database: Database = None,
    json: Json = False,
) -> None:
    """Add a table from a CSV file that others wrote. It is marked as imported and never mixed with measured values."""
    from profiler_service.foreign.csv_file import MAX_CSV_BYTES, read_csv
    from profiler_service.foreign.csv_import import match_rows
    from profiler_service.foreign.sources import read_source

    resolved = create_space(
        SpaceSpec.parse(
            {
                "name": space,
                "input_size": space_class(space).default_input_size if input_size is None else parse_size(input_size),
                "classes": classes,
                "batch": batch,
                "dtype": dtype,
                "parameters": dict(map(parse_parameter, parameter or ())),
            }
        )
    )
    source = read_source(file, MAX_CSV_BYTES)
    published, report = match_rows(source, read_csv(source), resolved)
    digest = f"sha256 {source.digest[:32]}"
    table = imported_table(published, device=device, runtime=runtime, source=file.name, digest=digest)
    details = {"report": report.model_dump(mode="json"), "provenance": table.info.provenance}
    save(table, database, as_json=json, details=details, lines=_lines(report), origin="which others measured on")


def _lines(report: ImportReport) -> list[str]:
    """The report for people."""
    from profiler_service.foreign.csv_file import DELIMITER_NAMES

    lines = [
        f"read as {report.encoding}, cells separated by a {DELIMITER_NAMES[report.delimiter]}, decimal mark "
        f"{report.decimal!r}, milliseconds from column {report.ms_column!r}",
        "their uncertainty is not known, and how they were measured is not known either",
    ]
    if report.ignored_columns:
        lines.append("columns that were not read: " + ", ".join(map(repr, report.ignored_columns)))
    if report.repeats:
        first = [f"row {one.row} repeats row {one.first_row} ({one.key})" for one in report.repeats]
        lines += _few(f"{len(first)} rows repeat an earlier row with the same value:", first)
    if report.unmatched:
        rows = [f"row {one.row}: {one.reason}" for one in report.unmatched]
        lines += _few(f"{len(rows)} of {report.rows} rows are no operator of the space and were left out:", rows)
    if report.absent:
        labels = [one.label for one in report.absent]
        lines += _few(f"{len(labels)} of {report.grid} operators of the space have no row:", labels)
    return lines


def _few(title: str, items: Sequence[str]) -> list[str]:
    rest = [f"  … and {len(items) - SHOWN} more; --json lists them all"] if len(items) > SHOWN else []
    return [title, *(f"  {item}" for item in items[:SHOWN]), *rest]
