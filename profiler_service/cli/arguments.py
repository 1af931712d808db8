"""Arguments and options that several commands share, and the tables and shares that they name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from models.spec.errors import InvalidSpecError
from models.spec.limits import MAX_PRIORITY
from models.spec.measurements import Budget
from models.spec.table_files import read_table
from models.spec.tables import Table
from models.spec.wire import Rebuild
from profiler_service.cli.runtime import open_existing_store

if TYPE_CHECKING:
    from profiler_service.settings import Settings

Database = Annotated[
    str | None,
    typer.Option(
        metavar="FILE|URL",
        help="SQLite file, or postgresql:// URL, that holds tables and jobs.",
        show_default="lut_data/opclock.sqlite",
    ),
]
Backend = Annotated[
    str | None, typer.Option(metavar="NAME", help="Runtime that builds and runs the engines.", show_default="onnxruntime")
]
Threads = Annotated[int | None, typer.Option(min=1, max=256, help="CPU threads for each engine.", show_default="1")]
Core = Annotated[
    int | None, typer.Option(min=0, help="CPU core that the timing process is pinned to.", show_default="the last one")
]
RebuildOption = Annotated[
    Rebuild,
    typer.Option(
        "--rebuild",
        help="Measure build-to-build variance at the end: build 5 % of the entries three times from scratch. "
        "auto does so for an entire grid, unless the budget is quick.",
    ),
]
BudgetOption = Annotated[
    Budget, typer.Option("--budget", help="How much time to spend. More time gives smaller standard errors.")
]
WaitForQuiet = Annotated[
    float | None,
    typer.Option(
        "--wait-for-quiet",
        metavar="MINUTES",
        min=0,
        max=10_080,
        help="Wait for other work on this machine to end, at most this long. Then measure in any case.",
        show_default="do not wait",
    ),
]
Remeasure = Annotated[bool, typer.Option("--remeasure", help="Measure entries again that the table already has.")]
RetryFailed = Annotated[bool, typer.Option("--retry-failed", help="Also try entries again whose engines have crashed twice.")]
Priority = Annotated[
    int,
    typer.Option(
        "--priority",
        min=-MAX_PRIORITY,
        max=MAX_PRIORITY,
        help="Place among waiting jobs, if a service goes on with this job after an interruption.",
    ),
]
Fdr = Annotated[
    str, typer.Option(metavar="RATE", help="False-discovery rate: expected share of false positives among significant results.")
]


TABLE_HELP = "Table file in any export format, or id of a table in the database."
TableName = Annotated[str, typer.Argument(metavar="TABLE", help=TABLE_HELP)]
TableId = Annotated[str, typer.Argument(metavar="TABLE", help="Id of a table in the database; `tables` lists them.")]


def is_file(name: str) -> bool:
    """Whether the name is a file's: the file exists, or the name has a suffix. Ids have no dot."""
    path = Path(name)
    return path.exists() or bool(path.suffix)


def load_table(name: str, settings: Settings) -> Table:
    """The table of that name.

    Raises:
        TableFileError, UnsafeTableError: the file is not a table, or cannot be read safely.
        TableNotFoundError, StorageError: the database has no table of that id, or does not exist.
    """
    if is_file(name):
        return read_table(Path(name))
    with open_existing_store(settings) as store:
        return store.table(name)


def require_id(name: str) -> str:
    """The name, which must be an id: table files hold neither rounds nor samples. Raises InvalidSpecError for a file."""
    if is_file(name):
        raise InvalidSpecError(
            f"{name} is a file; table files hold no rounds and no samples",
            hint="Give the id of a table in the database: `profiler-service tables` lists them.",
        )
    return name


def parse_fraction(text: str, what: str) -> float:
    """`5%` or `0.05` as 0.05. Raises InvalidSpecError."""
    number = text.strip().removesuffix("%").strip()
    try:
        value = float(number) / (100 if text.strip().endswith("%") else 1)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise InvalidSpecError(f"{what} {text!r} is not a fraction", hint="Write it as 5% or as 0.05.")
    return value


def parse_rate(text: str) -> float:
    """A false-discovery rate, between 0 and 1. Raises InvalidSpecError."""
    value = parse_fraction(text, "--fdr")
    if not 0 < value < 1:
        raise InvalidSpecError(f"--fdr {text!r} is not between 0 and 1", hint="Write it as 0.05 or as 5%.")
    return value
