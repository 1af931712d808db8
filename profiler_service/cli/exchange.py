"""`tables`, `export`, `import`, `publish`: tables of the database, and how they leave and enter it."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table as Grid

from models.spaces.coverage import coverage
from models.spaces.registry import space_label
from models.spec.errors import InvalidSpecError
from models.spec.table_cards import TableCard
from models.spec.table_files import TableFormat, read_table, to_bytes, write_table
from models.spec.tables import Table
from models.spec.verdicts import TrustLevel
from models.spec.wire import TablePublic
from models.terminal import Json, emit, people, print_unwrapped
from profiler_service.cli.arguments import Database
from profiler_service.cli.runtime import load_settings, open_existing_store, open_store
from profiler_service.publishing import card_of, incomplete, publishable, read_validation, require_complete, require_trustworthy
from profiler_service.publishing import publish as write_published

BINARY_FORMATS = frozenset({TableFormat.PARQUET, TableFormat.ARROW, TableFormat.NPY})


def tables(database: Database = None, json: Json = False) -> None:
    """List the tables of the database."""
    settings = load_settings(database=database)
    with open_existing_store(settings) as store:
        found = store.tables()
    documents = [_document(table) for table in found]
    emit({"tables": documents}, as_json=json, text=lambda console: _list(console, found))


def export(
    table: Annotated[str, typer.Option(metavar="ID", help="Id of a table; `tables` lists them.")],
    format: Annotated[TableFormat, typer.Option(help="Format of the file.")],  # noqa: A002 - the option's name
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="File to write.", show_default="stdout; with --json, ID.FORMAT here"
        ),
    ] = None,
    database: Database = None,
    json: Json = False,
) -> None:
    """Write one table to a file."""
    settings = load_settings(database=database)
    with open_existing_store(settings) as store:
        content = store.table(table)
    if output is None and not json:
        _write_stdout(content, format)
        return
    path = output or Path(f"{table}.{format.value}")
    write_table(content, path, format)
    document = {"path": str(path), "table_id": table, "format": format.value, "entries": len(content.entries)}
    emit(document, as_json=json, text=lambda console: console.print(f"{len(content.entries)} entries written to {path}"))


def import_table(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Table file in any export format.")],
    database: Database = None,
    json: Json = False,
) -> None:
    """Add a table from a file to the database. The table keeps its target."""
    save(read_table(file), database, as_json=json)


def save(
    table: Table,
    database: str | None,
    *,
    as_json: bool,
    details: Mapping[str, Any] | None = None,
    lines: Sequence[str] = (),
    origin: str = "measured on",
) -> None:
    """Add a table to the database and print its id.

    Args:
        table: to add.
        database: the command's option.
        as_json: the command's option.
        details: more fields of the JSON document.
        lines: more lines for people.
        origin: what connects the entries with the target in the line for people.
    """
    settings = load_settings(database=database)
    with open_store(settings) as store:
        table_id = store.import_table(table)
    document: dict[str, Any] = {"table_id": table_id, "entries": len(table.entries), "database": str(settings.database)}
    document |= details or {}
    target, space = table.info.target.label(), space_label(table.info.space)
    first = f"{len(table.entries)} entries of {space}, {origin} {target}, are in table {table_id}"
    emit(document, as_json=as_json, text=lambda console: console.print("\n".join([first, *lines]), markup=False))


def _write_stdout(table: Table, table_format: TableFormat) -> None:
    if table_format in BINARY_FORMATS and sys.stdout.isatty():
        raise InvalidSpecError(
            f"{table_format.value} is binary, which a terminal cannot show", hint="Give a file with -o, or use a pipe."
        )
    sys.stdout.buffer.write(to_bytes(table, table_format))
    sys.stdout.buffer.flush()


def _document(table: TablePublic) -> dict[str, Any]:
    covered = coverage(table)
    return table.model_dump(mode="json") | {"grid": covered.grid, "partial": covered.partial}


def _list(console: Console, found: Sequence[TablePublic]) -> None:
    if not found:
        people().print("no tables yet; `profiler-service profile` measures one")
        return
    grid = Grid(box=None, pad_edge=False)
    for heading in ("table", "search space", "target", "protocol", "entries", "failed", "verdict", ""):
        grid.add_column(heading, justify="right" if heading in ("entries", "failed") else "left")
    for table in found:
        info, covered = table.info, coverage(table)
        entries = str(table.entries) if covered.grid is None else f"{table.entries} of {covered.grid}"
        grid.add_row(
            table.id,
            space_label(info.space),
            info.target.label(),
            info.protocol.value,
            entries,
            str(table.failed),
            "none yet" if table.verdict is None else table.verdict.level.value,
            "partial" if covered.partial else "",
        )
    print_unwrapped(console, grid)


def publish(
    table: Annotated[str, typer.Option(metavar="ID", help="Id of a table; `tables` lists them.")],
    directory: Annotated[Path, typer.Option(metavar="DIR", help="Folder of published tables.")] = Path("lut_data"),
    validation: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Report of `nas-client validate -o` on this table.")
    ] = None,
    replace: Annotated[
        bool,
        typer.Option("--replace", help="Replace a published table of that name, even if it has another target or more values."),
    ] = False,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Publish a table that lacks values for operators of its space.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Publish a table whose verdict is not `trustworthy`.")] = False,
    database: Database = None,
    json: Json = False,
) -> None:
    """Publish a table: write a Parquet file and a card with provenance and validation to a folder, under the table's name."""
    settings = load_settings(database=database)
    with open_existing_store(settings) as store:
        publishable_table = publishable(store.table(table))
    card = card_of(publishable_table, None if validation is None else read_validation(validation, table))
    if not allow_missing:
        require_complete(card)
    if not force:
        require_trustworthy(card)
    card, paths = write_published(publishable_table, card, directory, replace=replace)
    document = {"name": card.name, "paths": [str(path) for path in paths], "card": card.model_dump(mode="json")}
    emit(document, as_json=json, text=lambda console: _show_published(console, card, paths))


def _show_published(console: Console, card: TableCard, paths: tuple[Path, Path]) -> None:
    console.print(f"{card.name}: {card.entries} entries of {card.label}", markup=False)
    if lacks := incomplete(card):
        console.print(f"incomplete: {lacks}", style="yellow")
    if card.verdict is not None and card.verdict.level is not TrustLevel.TRUSTWORTHY:
        console.print("\n".join(card.verdict.lines()), style="yellow", markup=False)
    if card.validation is None:
        console.print("published without a validation; --validation takes a report of `nas-client validate -o`", style="yellow")
    for path in paths:
        console.print(f"written to {path}", markup=False)
