"""`import-<space>`: one command for every search space whose authors published tables."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from models.spaces.published import PublishedReader, PublishedTable
from models.spaces.registry import published_readers
from models.spec.measurements import PROTOCOL_VERSIONS, Flag, Measurement
from models.spec.tables import Table, TableInfo
from models.spec.targets import TargetSpec
from models.terminal import Json
from profiler_service.cli.arguments import Database
from profiler_service.cli.exchange import save

Device = Annotated[str, typer.Option(help='Device of the measurement, such as "GTX 1080 Ti".')]
Runtime = Annotated[str, typer.Option(help='Runtime with its version, such as "TensorRT 5.1.5".')]

_VERSIONED = re.compile(r"(?P<name>.*\S)\s+(?P<version>v?\d\S*)")


def add_commands(app: typer.Typer) -> None:
    """Add `import-<space>` for every space that reads published tables."""
    for name, reader in published_readers().items():
        app.command(f"import-{name}", help=f"Add a published table: {reader.published_format}.")(_command(reader))


def _command(reader: type[PublishedReader]) -> Callable[..., None]:
    def import_published(
        file: Annotated[Path, typer.Argument(metavar="FILE", help="The published file.")],
        device: Device,
        runtime: Runtime,
        database: Database = None,
        json: Json = False,
    ) -> None:
        table = imported_table(reader.read_published(file), device=device, runtime=runtime, source=file.name)
        save(table, database, as_json=json)

    return import_published


def imported_table(published: PublishedTable, *, device: str, runtime: str, source: str, digest: str = "") -> Table:
    """Published values as a table.

    The target has the device and runtime as given and is marked as imported. It never equals a target of this service, so the
    values are never mixed with measured ones.

    Args:
        published: contents of the file.
        device: name of the device.
        runtime: name and version; `TensorRT 5.1.5` makes backend `TensorRT` with that version.
        source: the file's name, for the provenance.
        digest: names the file's contents; becomes part of the target, so that two files never share a table. Empty for files
            that are the same everywhere.

    Raises:
        InvalidSpecError: a name is empty or too long.
    """
    versioned = _VERSIONED.fullmatch(runtime.strip())
    backend, versions = runtime.strip(), {}
    if versioned:
        backend, versions = versioned["name"], {versioned["name"]: versioned["version"]}
    options = {"origin": "imported"} | ({"file": digest} if digest else {})
    target = TargetSpec.parse({"device": device.strip(), "backend": backend, "versions": versions, "options": options})
    info = TableInfo(
        target=target,
        space=published.space,
        protocol=published.protocol,
        protocol_version=PROTOCOL_VERSIONS[published.protocol],
        created_at=datetime.now(UTC),
        provenance={**published.provenance, "source": source},
    )
    entries = (Measurement(workload=operator, value_ms=ms, flags=(Flag.IMPORTED,)) for operator, ms in published.entries)
    return Table(info=info, entries=tuple(entries))
