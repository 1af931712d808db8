"""`serve`: the service in the foreground. The web framework is imported when it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from models.terminal import Json
from profiler_service.cli.options import Backend, Core, Database, Threads
from profiler_service.cli.runtime import measuring_settings


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.", show_default="127.0.0.1")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65_535, help="Port; 0 takes a free one.", show_default="8731")] = None,
    database: Database = None,
    backend: Backend = None,
    threads: Threads = None,
    core: Core = None,
    url_file: Annotated[
        Path | None, typer.Option(metavar="F", help="File that holds the address while the service answers.")
    ] = None,
    json: Json = False,
) -> None:
    """Serve tables and jobs over HTTP. With --json the address is printed once the service answers."""
    from profiler_service.cli.serving import run_service

    settings = measuring_settings(host=host, port=port, database=database, backend=backend, threads=threads, core=core)
    run_service(settings, url_file=url_file, as_json=json)
