"""The `nas-client` command: its subcommands, put together."""

from __future__ import annotations

import typer

from models.terminal import run
from nas_client.cli import (
    adapt,
    derive,
    documents,
    estimate,
    evaluate,
    experiment,
    listings,
    loss,
    predict,
    profile,
    search,
    select,
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
app.command("jobs")(listings.jobs)
app.command("pause")(listings.pause)
app.command("resume")(listings.resume)
app.command("cancel")(listings.cancel)
app.command("tables")(listings.tables)
app.command("spaces")(listings.spaces)
app.command("pull")(profile.pull)
app.command("estimate")(estimate.command)
app.command("measure")(profile.measure)
app.command("loss")(loss.loss)
app.command("sensitivity")(loss.sensitivity)
app.command("search")(search.search)
app.command("select")(select.select)
app.command("derive", context_settings=derive.OWN_OPTIONS)(derive.derive)
app.command("train")(train.train)
app.command("evaluate")(evaluate.evaluate)
app.command("adapt")(adapt.adapt)
app.command("predict")(predict.predict)
app.command("export")(documents.export)
app.command("draw")(documents.draw)
app.add_typer(experiment.app, name="experiment")
app.command("report")(documents.report)
app.command("validate")(validate.validate)


def main() -> None:
    """The console script."""
    run(app)
