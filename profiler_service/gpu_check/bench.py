"""The workbench of a part: its folder, its time limit, and the commands that it runs. A user could type each of them."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Set
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.spec.errors import REFUSALS, ErrorCode, ExitCode
from profiler_service.gpu_check.choices import Choices
from profiler_service.gpu_check.results import Check, CommandRecord

ROOT = Path(__file__).resolve().parents[2]
"""Folder of the packages: a checkout of the repository, or where they are installed."""

BIN = Path(sys.executable).parent

GRACE_S = 45.0
"""Seconds that an interrupted command has to end by itself: for the present visit and for shutting down."""

POLL_S = 0.1

_CONSOLE_SCRIPTS = {"profiler-service": "profiler_service.cli.main", "nas-client": "nas_client.cli.main"}

_PYTEST_FOLDER = re.compile(r"pytest-of-[^/\s'\"]+")


class PartError(Exception):
    """A command or an assumption of a part failed: it cannot go on."""


class SkipPartError(Exception):
    """The part does not apply here."""


class OutOfTimeError(Exception):
    """The part's time is up. Finished work is saved.

    Args:
        message: what was not finished.
        document: JSON of the interrupted command; None where it printed none.
        seconds: duration of the command; 0 where none was started.
    """

    def __init__(self, message: str, *, document: Any = None, seconds: float = 0.0) -> None:
        super().__init__(message)
        self.document, self.seconds = document, seconds


@dataclass(frozen=True)
class Ended:
    """How a command ended. `document` is its JSON, None where stdout holds none."""

    returncode: int
    document: Any
    stderr: str

    @property
    def refusal(self) -> str | None:
        """Why the backend does not support the request; None where the command succeeded or failed in another way."""
        return self._error_message(REFUSALS)

    @property
    def absence(self) -> str | None:
        """Which runtime, library or device is missing; None where the command ended otherwise."""
        return self._error_message({ErrorCode.BACKEND_UNAVAILABLE})

    @property
    def last_words(self) -> str:
        """The command's own message about its failure."""
        if isinstance(self.document, dict) and "error" in self.document:
            return str(self.document["error"]["message"])
        return " ".join(self.stderr.split())[-500:] or "no message"

    def _error_message(self, codes: Set[ErrorCode]) -> str | None:
        """The message of an error of these codes."""
        error = self.document.get("error") if isinstance(self.document, dict) else None
        if self.returncode == ExitCode.BAD_INPUT and error and error.get("code") in codes:
            return str(error["message"])
        return None


class Bench:
    """One part at work.

    Args:
        choices: choices of the check.
        output: folder of all parts.
        name: name of this part and of its folder.
        limit_s: seconds after which its commands are interrupted.
    """

    def __init__(self, choices: Choices, output: Path, name: str, limit_s: float) -> None:
        self.choices, self.output, self.folder = choices, output, output / name
        self.folder.mkdir(parents=True, exist_ok=True)
        self.checks: list[Check] = []
        self.summary: dict[str, Any] = {}
        self.commands: list[CommandRecord] = []
        self._deadline = time.monotonic() + limit_s

    @property
    def database(self) -> Path:
        """Database of all tables."""
        return self.output / "opclock.sqlite"

    @property
    def remaining_s(self) -> float:
        """Seconds until commands are interrupted."""
        return self._deadline - time.monotonic()

    def count_visits(self) -> int:
        """Number of visits in the part's databases, with which an interrupted command continues."""
        return sum(map(_count_visits, {self.database, *self.folder.glob("*.sqlite")}))

    def check(self, name: str, passed: bool, detail: str, *, aim: bool = False) -> None:
        """Add the result of a check."""
        self.checks.append(Check(name=name, passed=bool(passed), detail=detail, aim=aim))

    def environment(self, backend: str | None = None, **more: str) -> dict[str, str]:
        """The settings of the service that a command of this part runs under."""
        chosen = {"OPCLOCK_DATABASE": str(self.database), "OPCLOCK_DEVICE": self.choices.device}
        return chosen | ({"OPCLOCK_BACKEND": backend} if backend else {}) | more

    def run(
        self, name: str, *arguments: object, environment: Mapping[str, str] | None = None, accepts: tuple[int, ...] = (0,)
    ) -> Ended:
        """Run a command to its end.

        Args:
            name: name of the files for its output.
            arguments: one of our console scripts by name; or a script, or `-m` and a module, for this Python.
            environment: on top of this process's.
            accepts: return codes that are not failures. A refusal with code 3 is always returned, see `Ended.refusal`.

        Raises:
            OutOfTimeError: it was interrupted.
            PartError: it ended with another code.
        """
        if self.remaining_s <= 0:
            raise OutOfTimeError(f"no time left for {name}")
        command, shown = _command(arguments), tuple(map(str, arguments))
        environment = dict(environment or {})
        started = time.monotonic()
        out, err = self.folder / f"{name}.out", self.folder / f"{name}.err"
        with out.open("wb") as stdout, err.open("wb") as stderr:
            process = subprocess.Popen(
                command,
                stdout=stdout,
                stderr=stderr,
                cwd=working_folder(),
                env=os.environ | environment,
                start_new_session=True,
            )
            interrupted = self._wait(process)
        _end_what_is_left(process)
        for path in (out, err):
            _scrub(path)
        self.commands.append(
            CommandRecord(
                name=name,
                arguments=tuple(map(scrubbed, shown)),
                environment={key: scrubbed(value) for key, value in environment.items()},
                returncode=process.returncode,
                seconds=round(time.monotonic() - started, 3),
            )
        )
        ended = Ended(process.returncode, _json(out.read_text(errors="replace")), err.read_text(errors="replace"))
        if interrupted:
            raise OutOfTimeError(f"{name} was interrupted", document=ended.document, seconds=self.commands[-1].seconds)
        if process.returncode not in accepts and ended.refusal is None:
            raise PartError(f"{name} ended with {process.returncode}: {ended.last_words}")
        return ended

    @contextmanager
    def service(self, backend: str) -> Iterator[str]:
        """`profiler-service serve` on a free loopback port; its address. Raises PartError where it does not start."""
        url_file = self.folder / "service-url"
        url_file.unlink(missing_ok=True)
        command = _command(("profiler-service", "serve", "--port", "0", "--url-file", url_file))
        log = self.folder / "service.log"
        with log.open("wb") as stream:
            process = subprocess.Popen(
                command,
                stdout=stream,
                stderr=stream,
                cwd=working_folder(),
                env=os.environ | self.environment(backend),
                start_new_session=True,
            )
        try:
            while not url_file.exists():
                if process.poll() is not None:
                    raise PartError(f"the service ended with {process.returncode}: {log.read_text()[-500:]}")
                if self.remaining_s <= 0:
                    raise OutOfTimeError("the service did not start in time")
                time.sleep(POLL_S)
            yield url_file.read_text().strip()
        finally:
            _stop(process, signal.SIGTERM)
            _end_what_is_left(process)
            _scrub(log)

    def _wait(self, process: subprocess.Popen[bytes]) -> bool:
        """Wait until the process ends. Returns whether its time was up and it was interrupted."""
        try:
            process.wait(timeout=max(self.remaining_s, 0.0))
        except subprocess.TimeoutExpired:
            _stop(process, signal.SIGINT)
            return True
        except BaseException:  # this process is interrupted: its command ends, too
            _stop(process, signal.SIGINT)
            raise
        return False


def in_checkout() -> bool:
    """Whether the packages lie in the repository with its tests and scripts, and not in an installation."""
    return (ROOT / "pyproject.toml").exists()


def require_from_repository(path: str) -> None:
    """Raises SkipPartError if a file or folder of the repository is missing, which is not installed with the packages."""
    if not (ROOT / path).exists():
        raise SkipPartError(
            f"this part needs {path} of the repository, which is not installed with the package; in a clone, "
            "`make gpu-check` or `python -m profiler_service.gpu_check` has it"
        )


def working_folder() -> Path:
    """Working directory of commands: the checkout, if there is one, else the present directory."""
    return ROOT if in_checkout() else Path.cwd()


def _count_visits(path: Path) -> int:
    """Number of visits in one database; 0 where it cannot be read or has none."""
    if not path.exists():
        return 0
    with suppress(sqlite3.Error), closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as database:
        return int(database.execute("SELECT count(*) FROM visits").fetchone()[0])
    return 0


def _stop(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """End a command with that signal; kill it and its descendants if it does not end in time."""
    if process.poll() is None:
        process.send_signal(number)
        try:
            process.wait(timeout=GRACE_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _end_what_is_left(process: subprocess.Popen[bytes]) -> None:
    """Kill processes of the command's session that it did not end itself."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _command(arguments: tuple[object, ...]) -> list[str]:
    """The command line to start; our console scripts run from this checkout if they are not installed."""
    first, *rest = map(str, arguments)
    if (BIN / first).exists():
        return [str(BIN / first), *rest]
    if first in _CONSOLE_SCRIPTS:
        return [sys.executable, "-c", f"from {_CONSOLE_SCRIPTS[first]} import main; main()", *rest]
    return [sys.executable, first, *rest]


def _json(text: str) -> Any:
    """The JSON document in the text or in its last line; None without one."""
    for part in (text, text.rstrip().rpartition("\n")[2]):
        try:
            return json.loads(part)
        except ValueError:
            continue
    return None


def _scrub(path: Path) -> None:
    """Remove the folders of this box from a file, because results are published."""
    path.write_text(scrubbed(path.read_text(errors="replace")))


def scrubbed(text: str) -> str:
    """The text without folders of this box, and without the user name in pytest's temporary folders."""
    for folder, short in ((BIN.parent, ".venv"), (ROOT, "."), (working_folder(), "."), (Path.home(), "~")):
        if folder != Path("/"):
            text = text.replace(str(folder), short)
    return _PYTEST_FOLDER.sub("pytest-of-user", text)
