"""`jobs`, `pause`, `resume`, `cancel` and `tables`: what a service does and holds, without measuring or copying anything; and
`spaces`: what is installed here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table as Grid

from models.terminal import Json, emit, print_unwrapped
from nas_client.cli.arguments import Url, connect

if TYPE_CHECKING:
    from models.spec.wire import JobPublic, TablePublic

JobArgument = Annotated[str, typer.Argument(metavar="JOB", help="Id of the job, as `nas-client jobs` lists it.")]


def jobs(
    url: Url,
    limit: Annotated[int, typer.Option(min=1, max=1000, metavar="N", help="List at most N jobs, the newest first.")] = 20,
    json: Json = False,
) -> None:
    """List the latest jobs of a service: their state, how far they are, and why they failed."""
    with connect(url) as service:
        found = service.jobs(limit)
    emit(
        {"jobs": [job.model_dump(mode="json") for job in found]}, as_json=json, text=lambda console: _show_jobs(console, found)
    )


def _show_jobs(console: Console, found: Sequence[JobPublic]) -> None:
    if not found:
        console.print("the service has no jobs")
        return
    grid = Grid("job", "state", "space", "protocol", box=None, pad_edge=False)
    for heading in ("finished", "of", "failed"):
        grid.add_column(heading, justify="right")
    grid.add_column("created (UTC)")
    grid.add_column("remark")
    for job in found:
        counts = job.counts
        grid.add_row(
            job.id,
            job.state.value,
            job.request.space.label(),
            job.request.protocol.value,
            str(counts.finished),
            str(counts.total or "?"),
            str(counts.failed),
            f"{job.created_at:%Y-%m-%d %H:%M}",
            _remark(job),
        )
    print_unwrapped(console, grid)


def _remark(job: JobPublic) -> str:
    if job.state.final:
        return job.message
    return job.phase if job.eta_s is None else f"{job.phase}, about {job.eta_s:.0f} s left"


def cancel(url: Url, job: JobArgument, json: Json = False) -> None:
    """Cancel a job. What it has measured stays in the table, and the same `profile` command measures the rest."""
    with connect(url) as service:
        found = service.cancel(job)
    state = f"job {found.id} is {found.state.value}"
    sentence = state if found.state.final else f"{state}; it ends as soon as the current measurement does"
    emit({"job": found.model_dump(mode="json")}, as_json=json, text=lambda console: console.print(sentence))


def pause(url: Url, job: JobArgument, json: Json = False) -> None:
    """Pause a job, so that others are measured. What it has measured stays in the table, and `resume` lets it go on."""
    with connect(url) as service:
        found = service.pause(job)
    sentence = f"job {found.id} is {found.state.value}; `nas-client resume {found.id}` lets it go on"
    emit({"job": found.model_dump(mode="json")}, as_json=json, text=lambda console: console.print(sentence))


def resume(url: Url, job: JobArgument, json: Json = False) -> None:
    """Resume a paused job. It waits for its turn again, and goes on where it stopped."""
    with connect(url) as service:
        found = service.resume(job)
    sentence = f"job {found.id} is {found.state.value}"
    emit({"job": found.model_dump(mode="json")}, as_json=json, text=lambda console: console.print(sentence))


def tables(url: Url, json: Json = False) -> None:
    """List the tables of a service: their space, protocol, target, entries and verdict."""
    with connect(url) as service:
        found = service.tables()
    emit(
        {"tables": [table.model_dump(mode="json") for table in found]},
        as_json=json,
        text=lambda console: _show_tables(console, found),
    )


def _show_tables(console: Console, found: Sequence[TablePublic]) -> None:
    if not found:
        console.print("the service holds no table; measure one with `nas-client profile`")
        return
    grid = Grid("table", "space", "protocol", "target", box=None, pad_edge=False)
    for heading in ("entries", "failed"):
        grid.add_column(heading, justify="right")
    grid.add_column("verdict")
    for table in found:
        grid.add_row(
            table.id,
            table.info.space.label(),
            table.info.protocol.value,
            table.info.target.label(),
            str(table.entries),
            str(table.failed),
            "" if table.verdict is None else table.verdict.level.value,
        )
    print_unwrapped(console, grid)


def spaces(json: Json = False) -> None:
    """List the search spaces that are installed here: the roles and alternatives that `derive` takes, and its options for each.

    A plugin's space that cannot be imported is left out; `profiler-service doctor` says why.
    """
    from models.plugins import PluginError
    from models.spaces.registry import space_class, space_names
    from nas_client.cli.decode_options import described_options

    found = []
    for name in space_names():
        with suppress(PluginError):
            cls = space_class(name)
            default = cls.defaults()
            found.append(
                {
                    "name": name,
                    "description": cls.description,
                    "roles": [role.name for role in default.roles()],
                    "alternatives": list(default.alternatives()),
                    "options": [{"option": option, "help": text} for option, text in described_options(cls.decode_options)],
                }
            )
    emit({"spaces": found}, as_json=json, text=lambda console: _show_spaces(console, found))


def _show_spaces(console: Console, found: Sequence[Mapping[str, Any]]) -> None:
    for space in found:
        console.print(f"{space['name']}: {space['description']}", markup=False)
        console.print(f"  --role: {', '.join(space['roles'])}", markup=False)
        if any(space["alternatives"]):
            console.print(f"  --alternative: {' '.join(space['alternatives'])}", markup=False)
        for option in space["options"]:
            console.print(f"  {option['option']}: {option['help']}", markup=False)
