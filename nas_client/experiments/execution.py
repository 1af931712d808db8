"""How an experiment is carried out: its folder, and its runs, each a process of its own.

Several runs go on at once, in an order that respects what they need. A run of `nas-client` in its own process has its own
threads, seeds and memory. It saves itself when it is asked to end, and anyone can type its command to look into it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from models.spec.base import Record, differences
from models.spec.table_files import TableFormat, read_table, table_etag, write_table
from nas_client.errors import ExperimentError
from nas_client.runs.config import read_config, write_config
from nas_client.runs.manifest import RESULT, Kind, begin_run, is_begun, require_run
from nas_client.runs.stopping import StopRequest
from nas_client.table import LookupTable

CONFIG, TABLE = "experiment.yaml", "table.arrow"
"""The configuration of all runs, and the table, in the experiment's folder."""

Progress = Callable[[int, int, Sequence[str]], None]
"""Receives how many commands are done, how many there are, so far known (a phase gives its own when it begins), and the names
of those that run.
"""

NAS_CLIENT = (sys.executable, "-m", "nas_client")

_LOOK_S = 0.1
_LINES_OF_LOG = 5
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Command:
    """One run of `nas-client`.

    Attributes:
        name: unlike those of the others.
        arguments: of the command line.
        log: file that gets all its output.
        after: names of the commands that must have ended before.
    """

    name: str
    arguments: tuple[str, ...]
    log: Path
    after: tuple[str, ...] = ()


class Execution(TypedDict, total=False):
    """How an experiment is carried out, whatever it asks.

    Attributes:
        at_once: runs at a time, 1 by default; where several, each computes with one thread.
        resume: go on with the experiment in the folder.
        progress: called whenever a run begins or ends.
    """

    at_once: int
    resume: bool
    progress: Progress | None


def carry_out(
    folder: Path,
    kind: Kind,
    table: LookupTable | None,
    config: Record,
    phases: Sequence[Callable[[], Iterable[Command]]],
    *,
    at_once: int = 1,
    resume: bool = False,
    progress: Progress | None = None,
) -> bool:
    """Begin the experiment's folder, or go on with it, and run what is not done yet; whether it was, rather than stopped.

    Args:
        folder: of the experiment.
        kind: of the experiment.
        table: of its latencies, where it has any.
        config: of all runs.
        phases: each gives its commands once those of the phase before have ended: networks are found before they are trained.
        at_once: see `Execution`.
        resume: see `Execution`.
        progress: see `Execution`.

    Raises:
        RunFolderError: the folder holds another kind of run.
        ExperimentError: a run failed; or the folder holds an experiment and `resume` is not set, or another one.
        OSError: the folder cannot be written.
    """
    _begin(folder, kind, table, config, resume=resume)
    before = 0
    for phase in phases:
        commands = list(phase())
        if not run_commands(commands, at_once=at_once, progress=_counted_from(before, progress)):
            return False
        before += len(commands)
    return True


def _counted_from(before: int, progress: Progress | None) -> Progress | None:
    """The progress of a phase, with what the phases before it have done."""
    return progress and (lambda done, count, running: progress(before + done, before + count, running))


def _begin(folder: Path, kind: Kind, table: LookupTable | None, config: Record, *, resume: bool) -> None:
    """Write table, where there is one, and configuration; or make sure that the experiment in the folder has the same."""
    config_file, table_file = folder / CONFIG, folder / TABLE
    if is_begun(folder):
        require_run(folder, kind)
    if not config_file.exists():
        begin_run(folder, kind)
        if table is not None:
            write_table(table.table, table_file, TableFormat.ARROW)
        write_config(config, config_file)
        return
    if not resume:
        raise ExperimentError(f"{folder} holds an experiment already", hint="Go on with --resume, or name another folder.")
    if lines := differences(config, read_config(type(config), config_file)):
        raise ExperimentError(
            f"{folder} holds an experiment of another configuration: {'; '.join(lines)}",
            hint="Resume it with the same preset, table and --set, or name another folder.",
        )
    if table is None:
        return
    before = LookupTable(read_table(table_file))
    if table_etag(before.table) != table_etag(table.table):
        raise ExperimentError(
            f"{folder} holds an experiment with other contents of a table: {before.label()}",
            hint="Resume it with the same table, or name another folder.",
        )


def run_commands(
    commands: Sequence[Command], *, at_once: int, progress: Progress | None = None, program: Sequence[str] = NAS_CLIENT
) -> bool:
    """Run them all; whether they were, rather than stopped by SIGTERM or Ctrl-C. Whatever runs then is asked to save itself.

    Args:
        commands: those that others wait for come before them.
        at_once: how many may run at a time; where several, each computes with one thread.
        progress: called whenever a command begins or ends.
        program: takes the arguments.

    Raises:
        ExperimentError: one failed; names it, its last words and its log. Those that ran beside it are asked to end.
    """
    waiting, running, done = list(commands), dict[str, subprocess.Popen[bytes]](), set[str]()
    logs = {command.name: command.log for command in commands}
    with StopRequest() as stop:
        try:
            while (waiting or running) and not stop.requested:
                for command in [c for c in waiting if done.issuperset(c.after)][: at_once - len(running)]:
                    waiting.remove(command)
                    running[command.name] = _start([*program, *command.arguments], command.log, one_thread=at_once > 1)
                    _report(progress, done, commands, running)
                time.sleep(_LOOK_S)
                for name in [name for name, process in running.items() if process.poll() is not None]:
                    _require_success(name, running.pop(name).returncode, logs[name])
                    done.add(name)
                    _report(progress, done, commands, running)
        finally:
            for process in running.values():
                process.terminate()
            for process in running.values():
                process.wait()
    return len(done) == len(commands)


def is_finished(run: Path) -> bool:
    """Whether the search or training in that folder came to its end.

    Raises:
        ExperimentError: its result is damaged.
    """
    path = run / RESULT
    if not path.exists():
        return False
    try:
        return bool(json.loads(path.read_bytes())["finished"])
    except (ValueError, KeyError, TypeError) as error:
        raise ExperimentError(
            f"{path}: not a result: {error}", hint="Remove the run's folder; it is then done again."
        ) from error


def _start(arguments: Sequence[str], path: Path, *, one_thread: bool) -> subprocess.Popen[bytes]:
    """In a session of its own, so that Ctrl-C reaches it once, from here: a second signal would end it before it has saved."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as log:
        return subprocess.Popen(  # noqa: S603 - our own command
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=os.environ | (_ONE_THREAD if one_thread else {}),
            start_new_session=True,
        )


def _require_success(name: str, code: int, log: Path) -> None:
    if code == 0:
        return
    words = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-_LINES_OF_LOG:]
    raise ExperimentError(
        f"{name} ended with {code}: {' / '.join(words) or 'it said nothing'}",
        hint=f"All that it said is in {log}. --resume goes on with what is done.",
    )


def _report(
    progress: Progress | None, done: set[str], commands: Sequence[Command], running: dict[str, subprocess.Popen[bytes]]
) -> None:
    if progress is not None:
        progress(len(done), len(commands), list(running))
