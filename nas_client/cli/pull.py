"""`pull`: a table from a service into a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from models.spec.errors import UnknownNameError
from models.spec.table_files import TableFormat, write_table
from models.terminal import Json, Require, emit, end_unless, warn
from nas_client.cli.options import Url, connect


def pull(
    url: Url,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="F", help="File to write; its suffix names the format.")],
    table: Annotated[str | None, typer.Option(metavar="ID", help="Which table, where the service has several.")] = None,
    require: Require = None,
    json: Json = False,
) -> None:
    """Copy a table from a service into a file. An unchanged table is not transferred again."""
    from nas_client.table import LookupTable, choose_table

    table_format = _format_of(output)
    with connect(url) as service:
        found = LookupTable(service.table(choose_table(service.tables(), table_id=table).id))
    write_table(found.table, output, table_format)
    entries = len(found.table.entries)
    document = {
        "table_id": found.info.id(),
        "path": str(output),
        "format": table_format.value,
        "entries": entries,
        "failed": entries - len(found.table.values_ms()),
        "verdict": found.verdict.model_dump(mode="json"),
    }
    sentence = f"{entries} entries of {found.label()} are in {output}"
    emit(document, as_json=json, text=lambda console: console.print(sentence, markup=False))
    warn(found.verdict, found.label())
    end_unless(found.verdict, require)


def _format_of(path: Path) -> TableFormat:
    suffix = path.suffix.removeprefix(".").lower()
    if suffix not in set(TableFormat):
        raise UnknownNameError.of("table format", suffix, [table_format.value for table_format in TableFormat])
    return TableFormat(suffix)
