"""`backup`, `restore` and `cache prune`: what a service that runs for months needs now and then."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from models.terminal import Json, emit
from profiler_service.cli.arguments import Database
from profiler_service.cli.runtime import load_settings, open_existing_store

cache = typer.Typer(name="cache", help="The cache of graphs.", no_args_is_help=True)


def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="New file to write.")],
    database: Database = None,
    json: Json = False,
) -> None:
    """Copy the database to a new file. It may be in use."""
    from profiler_service.storage.upkeep import backup

    settings = load_settings(database=database)
    size = backup(settings.database, file)
    document = {"path": str(file), "database": str(settings.database), "bytes": size}
    emit(document, as_json=json, text=lambda console: console.print(f"{size / 1e6:.1f} MB written to {file}", soft_wrap=True))


def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Copy that `backup` wrote.")],
    database: Database = None,
    json: Json = False,
) -> None:
    """Put a copy in the database's place. No service may be using it. The former database is kept beside it."""
    from profiler_service.storage.upkeep import restore

    settings = load_settings(database=database)
    former = restore(file, settings.database)
    with open_existing_store(settings) as store:  # brings a copy of an earlier release to this one's schema
        tables = len(store.table_counts())
    held = f"{tables} table{'' if tables == 1 else 's'}"
    kept = "" if former is None else f"; the former database is {former}"
    document = {"database": str(settings.database), "tables": tables, "former": None if former is None else str(former)}
    emit(
        document,
        as_json=json,
        text=lambda console: console.print(f"{settings.database} has {held} now{kept}", soft_wrap=True),
    )


@cache.callback()
def _group() -> None:
    # Makes `cache` a group of commands, although it has only one.
    pass


@cache.command("prune")
def prune(
    max_bytes: Annotated[
        int | None,
        typer.Option(min=0, metavar="BYTES", help="What graph files may take.", show_default="OPCLOCK_CACHE_MAX_BYTES, 4 GiB"),
    ] = None,
    database: Database = None,
    json: Json = False,
) -> None:
    """Delete graph files, those used least recently first. What running jobs need stays."""
    from profiler_service.worker.pruning import prune

    settings = load_settings(database=database, cache_max_bytes=max_bytes)
    pruned = prune(settings.cache_path, settings.cache_max_bytes)
    document = {
        "directory": str(settings.cache_path),
        "files": pruned.files,
        "freed_bytes": pruned.freed_bytes,
        "left_bytes": pruned.left_bytes,
        "needed_bytes": pruned.needed_bytes,
    }
    text = (
        f"{pruned.files} files with {pruned.freed_bytes / 1e6:.1f} MB deleted from {settings.cache_path}; "
        f"{pruned.left_bytes / 1e6:.1f} MB stay, of which running jobs need {pruned.needed_bytes / 1e6:.1f} MB"
    )
    emit(document, as_json=json, text=lambda console: console.print(text, soft_wrap=True))
