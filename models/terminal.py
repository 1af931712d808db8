"""Output of every command of both packages: results to stdout, everything else to stderr, one exit code per kind of end.

A command returns nothing. It calls `emit` once with its document. `run` turns our errors into messages and exit codes.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any, Literal

import typer
from pydantic import BaseModel
from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.segment import Segment
from rich.table import Table as Grid

from models.safe_text import safe_text
from models.spec.architectures import Parameter
from models.spec.base import canonical_json
from models.spec.errors import ErrorCode, ExitCode, InvalidSpecError, OpclockError
from models.spec.verdicts import TrustLevel, Verdict
from models.spec.wire import JobPublic, JobState

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document to stdout and everything else to stderr.")]

Require = Annotated[
    Literal["trustworthy", "noisy", "unsettled"] | None,
    typer.Option(
        "--require", help="End with exit code 6 if the verdict is worse than this. The result is printed in any case."
    ),
]

Document = BaseModel | Mapping[str, Any]

_WIDEST = 1000
"""Characters of a line."""


class SafeConsole(Console):
    """A console of which no text, whoever wrote it, steers the terminal or shows the password of an address.

    Everything passes `render`. Names, labels and messages come from services, files and databases.
    """

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """See `Console.render`; segments that rich makes to steer the terminal stay as they are."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=safe_text(segment.text))


def people() -> Console:
    """The console for everything that is not a result. Long lines are not wrapped, so that commands in hints can be copied."""
    return SafeConsole(stderr=True, highlight=False, soft_wrap=True, markup=False)


def emit(document: Document, *, as_json: bool, text: Callable[[Console], None]) -> None:
    """Print a command's result: the document as JSON, or `text` for people."""
    if as_json:
        data = document.model_dump(mode="json") if isinstance(document, BaseModel) else document
        sys.stdout.write(canonical_json(data) + "\n")
        sys.stdout.flush()
    else:
        text(SafeConsole(highlight=False, soft_wrap=True, markup=False))


def warn(verdict: Verdict, of: str) -> None:
    """Print a verdict other than `trustworthy` to stderr, with its reasons, as one block.

    Args:
        verdict: verdict on the source of a command's result.
        of: name of that source in the message.
    """
    if verdict.level is not TrustLevel.TRUSTWORTHY:
        style = "bold red" if verdict.level is TrustLevel.UNUSABLE else "yellow"
        first, *reasons = verdict.lines()
        people().print("\n".join([f"{of}: {first}", *reasons]), style=style, markup=False)


def end_unless(verdict: Verdict, required: str | None) -> None:
    """End the command with `ExitCode.UNTRUSTED` if the verdict is worse than required. Call it last.

    Args:
        verdict: verdict on the command's result.
        required: the value of `Require`; None requires nothing.
    """
    if required is not None and not verdict.level.meets(TrustLevel(required)):
        people().print(f"the verdict is {verdict.level.value}, and --require asks for {required} or better", markup=False)
        raise typer.Exit(ExitCode.UNTRUSTED)


def print_unwrapped(console: Console, grid: Grid) -> None:
    """Print a table without wrapping cells, however narrow the console is, so that keys and labels can be copied."""
    console.width = max(console.width, console.measure(grid, options=console.options.update(max_width=_WIDEST)).maximum)
    console.print(grid)


def progress() -> Progress:
    """A progress bar with count, elapsed time and ETA on stderr; nothing is drawn if stderr is not a terminal."""
    console = people()
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", style="progress.description", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("ETA"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", style="dim", markup=False),
        console=console,
        disable=not console.is_terminal,
    )


@contextmanager
def job_progress(title: str) -> Iterator[Callable[[JobPublic], None]]:
    """A progress bar for a job. Call the yielded function with every new state of the job.

    The bar counts the share of the work that is done, in units of workloads: rounds cover all workloads, so none is finished
    before the last round. The note is the service's estimate of the remaining time.
    """
    with progress() as bar:
        task = bar.add_task(title, total=None, note="")

        def show(job: JobPublic) -> None:
            total = job.counts.total or None  # not known while the job waits for its turn
            done = total if job.state is JobState.DONE else job.fraction * job.counts.total
            note = job.phase if job.eta_s is None else f"{job.phase}, about {job.eta_s:.0f} s left"
            bar.update(task, total=total, completed=done, note=note)

        yield show


def parse_size(text: str) -> tuple[int, int]:
    """`128x256` as (height, width). Raises InvalidSpecError."""
    try:
        height, width = (int(part) for part in text.lower().replace("×", "x").split("x"))
    except ValueError as error:
        raise InvalidSpecError(
            f"input size {text!r} is not HEIGHTxWIDTH", hint="Write it as 128x256: height first, in pixels."
        ) from error
    return height, width


def parse_parameter(text: str) -> tuple[str, Parameter]:
    """`layers=8`, `widths=4,8`, or `widths=4,` for a list of one, by name and value. Raises InvalidSpecError."""
    name, _, value = text.partition("=")
    try:
        return name, tuple(int(part) for part in value.removesuffix(",").split(",")) if "," in value else int(value)
    except ValueError as error:
        raise InvalidSpecError(
            f"parameter {text!r} is not NAME=NUMBER",
            hint="Write a number as layers=8, several as widths=4,8,12, and a list of one as widths=4, with its comma.",
        ) from error


def run(app: typer.Typer) -> None:
    """Run a console script; never returns. Our errors become one message, their hint and their exit code.

    typer ends quietly by itself on Ctrl-C (130) and where stdout is closed, as by `… | head` (1). SIGPIPE stays ignored: it
    would kill the process whenever the other side closes an HTTP connection.
    """
    try:
        app()
    except OpclockError as error:
        _report(error.code, error.message, error.hint)
        sys.exit(int(error.exit_code))
    except OSError as error:
        path = f" {os.fspath(error.filename)!r}" if error.filename else ""
        _report(
            ErrorCode.INVALID_REQUEST,
            f"cannot use{path}: {error.strerror or error}",
            "Check the path, its permissions and the disk.",
        )
        sys.exit(int(ExitCode.BAD_INPUT))


def _report(code: ErrorCode, message: str, hint: str) -> None:
    if "--json" in sys.argv:
        told = {"code": code.value, "message": safe_text(message), "hint": safe_text(hint)}
        sys.stdout.write(canonical_json({"error": told}) + "\n")
    console = people()
    console.print(f"error: {message}", style="bold red", markup=False)
    if hint:
        console.print(hint, markup=False)
