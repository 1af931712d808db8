"""The `nas-client` command: one module per subcommand, put together here."""

from __future__ import annotations

import typer

from models.terminal import run
from nas_client.cli import (
    derive,
    draw,
    estimate,
    evaluate,
    experiment,
    export,
    loss,
    measure,
    profile,
    pull,
    report,
    search,
    sensitivity,
    train,
    validate,
)

app = typer.Typer(
    name="nas-client",
    help="Use latency tables where the search runs: losses, estimates, and how far to trust them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command("profile")(profile.profile)
app.command("pull")(pull.pull)
app.command("estimate")(estimate.command)
app.command("measure")(measure.measure)
app.command("loss")(loss.loss)
app.command("sensitivity")(sensitivity.sensitivity)
app.command("search")(search.search)
app.command("derive")(derive.derive)
app.command("train")(train.train)
app.command("evaluate")(evaluate.evaluate)
app.command("export")(export.export)
app.command("draw")(draw.draw)
app.add_typer(experiment.app, name="experiment")
app.command("report")(report.report)
app.command("validate")(validate.validate)


def main() -> None:
    """The console script."""
    run(app)
