"""All subcommands of `profiler-service`: one module each, put together here."""

from __future__ import annotations

import typer

from profiler_service.cli import (
    diff,
    doctor,
    entries,
    exchange,
    gpu_check,
    import_fasterseg,
    lint,
    profile,
    publish,
    samples,
    serve,
    table1,
)

app = typer.Typer(
    name="profiler-service",
    help="Measure the operators of a search space on this machine, and serve the tables.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def _quieten() -> None:
    # Before any command runs, but not for the list of commands. A docstring would take the place of the help above.
    from profiler_service.logs import configure_logs

    configure_logs("warning")


app.command("serve")(serve.serve)
app.command("profile")(profile.profile)
app.command("tables")(exchange.tables)
app.command("entries")(entries.entries)
app.command("samples")(samples.samples)
app.command("export")(exchange.export)
app.command("export-samples")(samples.export_samples)
app.command("import")(exchange.import_table)
app.command("publish")(publish.publish)
app.command("diff")(diff.diff)
app.command("lint")(lint.lint)
app.command("doctor")(doctor.doctor)
app.command("gpu-check")(gpu_check.gpu_check)
import_fasterseg.add_commands(app)
table1.add_commands(app)
