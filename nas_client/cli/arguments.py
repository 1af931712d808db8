"""What several commands share: options, each defined once, what they stand for, and a job's progress.

HTTP, numpy and torch are imported when a command runs, here and in the commands, so that `--help` is fast.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from models.spec.measurements import Budget, ProtocolName
from models.spec.verdicts import Verdict
from models.terminal import job_progress, people, warn

if TYPE_CHECKING:
    from nas_client.service import ServiceClient, Watch
    from nas_client.table import LookupTable
    from nas_client.uncertainty import SumBias

Url = Annotated[str, typer.Option(metavar="U", envvar="OPCLOCK_URL", help="Address of the service, http://host:port.")]
TableSource = Annotated[
    str,
    typer.Option(
        "--table", metavar="F", help="A table file in any export format, its URL on a service, or the name of a published one."
    ),
]
ValidationFolder = Annotated[
    Path | None,
    typer.Option(
        "--validation",
        metavar="DIR",
        help="Folder that `validate` wrote for this table, to correct the interval; by default a published table's own.",
    ),
]
Space = Annotated[str, typer.Option(metavar="S", help="Name of the search space.")]
BudgetOption = Annotated[Budget, typer.Option("--budget", help="How much time to spend on precision.")]
ProtocolOption = Annotated[ProtocolName, typer.Option("--protocol", help="How times are taken; see docs/measurement.md.")]

RunFolder = Annotated[Path, typer.Option("--output", "-o", metavar="RUN", help="Folder of the run. It is created if needed.")]
ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", metavar="C", help="YAML file. Fields that it leaves out have the values of the space."),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="FIELD=VALUE", help="Set one field of the configuration, such as search.epochs=10; repeatable."
    ),
]
LatencyTargets = Annotated[
    list[float] | None,
    typer.Option("--latency-ms", metavar="T", help="Target latency of a selected network, milliseconds; repeatable."),
]
Front = Annotated[bool, typer.Option("--front", help="Select along the whole front of accuracy and latency, too.")]
Resume = Annotated[bool, typer.Option("--resume", help="Continue the run in the folder.")]

TrainedRun = Annotated[Path, typer.Option("--run", metavar="RUN", help="Folder of a training.")]
WeightsOption = Annotated[
    Literal["best", "final"], typer.Option("--weights", help="Weights of the best epoch, or of the last.")
]

INTERRUPTED = 130
"""Exit code of a run that a signal stopped, saved and ready to go on: the shell's own for Ctrl-C."""


def connect(url: str) -> ServiceClient:
    """The service at that address, with the environment's settings; it reports retries and fallbacks on stderr."""
    from nas_client.service import ServiceClient
    from nas_client.settings import ClientSettings
    from nas_client.transport import announce_retries

    announce_retries(say)
    return ServiceClient.connect(url, ClientSettings.load(), notice=say)


def load_table(source: str) -> LookupTable:
    """The table that `TableSource` names; see `nas_client.table.load_table`."""
    from nas_client.table import load_table as load
    from nas_client.transport import announce_retries

    announce_retries(say)
    return load(source)


def say(sentence: str) -> None:
    """Write a sentence to stderr, for the user."""
    people().print(sentence, style="yellow", markup=False)


def say_uncharged(table: LookupTable) -> None:
    """Say in one line what sums of that table leave out."""
    if table.uncharged:
        say(f"{table.info.id()}: {table.uncharged}")


def known_bias(source: str, table: LookupTable, validation: Path | None) -> SumBias | None:
    """How the table's sums missed measured networks: by the validation named, or by a published table's card.

    What speaks against the validation, beyond what speaks against the table, is said on stderr.

    Args:
        source: of the table, as the command line named it.
        table: what was found there.
        validation: folder of a validation.
    """
    from nas_client.settings import ClientSettings
    from nas_client.validation.report import published_validation, read_validation

    known = published_validation(source, ClientSettings.load()) if validation is None else read_validation(validation, table)
    if known is None:
        return None
    reasons = () if known.verdict is None else known.verdict.reasons
    warn(Verdict.of(reason for reason in reasons if reason not in table.verdict.reasons), "the validation of this table")
    return known.sums


@contextmanager
def watching(title: str) -> Iterator[Watch]:
    """A progress bar with ETA; call what this gives with every state of the job."""
    with job_progress(title) as show:
        try:
            yield show
        except KeyboardInterrupt:
            say("interrupted: the job is cancelled; measurements so far are saved, and the same command measures the rest")
            raise


def selection_overrides(overrides: list[str] | None, targets: list[float] | None, front: bool) -> list[str]:
    """Overrides of a configuration, with those that stand for `--latency-ms` and `--front`: they replace all other goals."""
    found = list(overrides or ())
    if targets or front:
        named = ", ".join(repr(target) for target in targets or ())
        found += [f"selection.latency_ms=[{named}]", f"selection.front={str(front).lower()}"]
    return found
