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
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.spec.base import Record, differences
from models.spec.table_files import TableFormat, read_table, table_etag, write_table
from nas_client.errors import ExperimentError
from nas_client.runs.config import read_config, write_config
from nas_client.runs.manifest import RESULT, Kind, begin_run, is_begun, require_run
from nas_client.runs.stopping import StopRequest
from nas_client.table import LookupTable

CONFIG, TABLE = "experiment.yaml", "table.arrow"
"""The configuration of all runs, and the table, in the experiment's folder."""


def begin(folder: Path, kind: Kind, table: LookupTable | None, config: Record, *, resume: bool) -> None:
    """Write table, where there is one, and configuration; or make sure that the experiment in the folder has the same.

    Raises:
        RunFolderError: the folder holds another kind of run.
        ExperimentError: one is there and `resume` is not set, or it is another one: says in what.
        OSError: the folder cannot be written.
    """
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


def without_other_rates(fields: Mapping[str, Any], stated: Mapping[str, Any], usual: Mapping[str, Any]) -> dict[str, Any]:
    """A preset's fields without the learning rates of optimisers that step by another method than those it was made for.

    Args:
        fields: of the preset.
        stated: what they are put over.
        usual: what the preset was made for.
    """
    other = stated.get("method") != usual.get("method")
    found = {}
    for name, value in fields.items():
        if isinstance(value, Mapping):
            found[name] = without_other_rates(value, stated.get(name, {}), usual.get(name, {}))
        elif not (other and name == "lr"):
            found[name] = value
    return found


def flat(fields: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Nested fields as overrides of a configuration: `search.epochs=10`."""
    for name, value in fields.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}={json.dumps(value)}"


Progress = Callable[[int, int, Sequence[str]], None]
"""Receives how many commands are done, how many there are, and the names of those that run."""

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
