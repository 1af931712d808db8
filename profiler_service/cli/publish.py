"""`publish`: a measured table to where `nas-client --table NAME` finds it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from models.spec.table_cards import TableCard
from models.spec.verdicts import TrustLevel
from models.terminal import Json, emit
from profiler_service.cli.options import Database
from profiler_service.cli.runtime import load_settings, open_existing_store
from profiler_service.publishing import card_of, incomplete, publishable, read_validation, require_complete, require_trustworthy
from profiler_service.publishing import publish as write_files


def publish(
    table: Annotated[str, typer.Option(metavar="ID", help="As `tables` lists it.")],
    directory: Annotated[Path, typer.Option(metavar="DIR", help="Folder of published tables.")] = Path("lut_data"),
    validation: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Report that `nas-client validate -o` wrote about this table.")
    ] = None,
    replace: Annotated[
        bool,
        typer.Option("--replace", help="Take the place of another target's table of that name, or of more."),
    ] = False,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Publish a table that has not a value for every operator of its space.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Publish a table whose verdict is not `trustworthy`.")] = False,
    database: Database = None,
    json: Json = False,
) -> None:
    """Put a table, as Parquet, and a card with its provenance and validation below a folder, under a name of its own."""
    settings = load_settings(database=database)
    with open_existing_store(settings) as store:
        kept = publishable(store.table(table))
    card = card_of(kept, None if validation is None else read_validation(validation, table))
    if not allow_missing:
        require_complete(card)
    if not force:
        require_trustworthy(card)
    card, paths = write_files(kept, card, directory, replace=replace)
    document = {"name": card.name, "paths": [str(path) for path in paths], "card": card.model_dump(mode="json")}
    emit(document, as_json=json, text=lambda console: _show(console, card, paths))


def _show(console: Console, card: TableCard, paths: tuple[Path, Path]) -> None:
    console.print(f"{card.name}: {card.entries} entries of {card.label}", markup=False)
    if lacks := incomplete(card):
        console.print(f"incomplete: {lacks}", style="yellow")
    if card.verdict is not None and card.verdict.level is not TrustLevel.TRUSTWORTHY:
        console.print("\n".join(card.verdict.lines()), style="yellow", markup=False)
    if card.validation is None:
        console.print("without a validation; --validation takes a report of `nas-client validate -o`", style="yellow")
    for path in paths:
        console.print(f"written to {path}", markup=False)
