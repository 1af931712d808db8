"""All subcommands of `profiler-service`, put together; `serve`, which is short, is here itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from models.terminal import Json
from profiler_service.cli import (
    diff,
    entries,
    exchange,
    foreign,
    import_csv,
    import_fasterseg,
    lint,
    machine_checks,
    measure_network,
    profile,
    table1,
    token,
    upkeep,
)
from profiler_service.cli.arguments import Backend, Core, Database, Threads
from profiler_service.cli.runtime import measuring_settings

app = typer.Typer(
    name="profiler-service",
    help="Measure the operators of a search space on this machine and serve the tables.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def _quieten() -> None:
    # Runs before any command, but not for the list of commands. A docstring would replace the help above.
    from profiler_service.logs import configure_logs

    configure_logs("warning")


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.", show_default="127.0.0.1")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65_535, help="TCP port; 0 chooses a free one.", show_default="8731")
    ] = None,
    database: Database = None,
    backend: Backend = None,
    threads: Threads = None,
    core: Core = None,
    root_path: Annotated[
        str | None, typer.Option(metavar="PATH", help="Path under which a reverse proxy shows the service, as /opclock.")
    ] = None,
    tls_certificate: Annotated[
        Path | None, typer.Option(metavar="FILE", help="PEM certificate chain; the service then speaks HTTPS.")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(metavar="FILE", help="PEM private key of the certificate.")] = None,
    url_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the address to this file while the service answers.")
    ] = None,
    open_page: Annotated[bool, typer.Option("--open", help="Open the page in this machine's browser.")] = False,
    json: Json = False,
) -> None:
    """Serve tables and jobs over HTTP, and pages that show them. With --json, print the address once the service answers.

    Beyond this machine a token is needed: see `token`.
    """
    from profiler_service.cli.serving import run_service

    settings = measuring_settings(
        host=host,
        port=port,
        database=database,
        backend=backend,
        threads=threads,
        core=core,
        root_path=root_path,
        tls_certificate=tls_certificate,
        tls_key=tls_key,
    )
    run_service(settings, url_file=url_file, as_json=json, open_page=open_page)


app.command("serve")(serve)
app.command("profile")(profile.profile)
app.command("measure")(measure_network.measure_network)
app.command("tables")(exchange.tables)
app.command("entries")(entries.entries)
app.command("samples")(entries.samples)
app.command("export")(exchange.export)
app.command("export-samples")(entries.export_samples)
app.command("import")(exchange.import_table)
app.command("import-csv")(import_csv.import_csv)
app.command("publish")(exchange.publish)
app.command("diff")(diff.diff)
app.command("lint")(lint.lint)
app.command("backup")(upkeep.backup)
app.command("restore")(upkeep.restore)
app.add_typer(upkeep.cache)
app.command("doctor")(machine_checks.doctor)
app.command("gpu-check")(machine_checks.gpu_check)
app.add_typer(token.app, name="token")
import_fasterseg.add_commands(app)
app.add_typer(foreign.app, name="foreign")
table1.add_commands(app)
