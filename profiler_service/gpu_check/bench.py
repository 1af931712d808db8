"""Where a part works: its folder, its time, and the commands that it runs, all of which a user could type."""

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
"""After its time a command is interrupted, and has so long to end by itself: the present visit, and closing down."""

POLL_S = 0.1

_CONSOLE_SCRIPTS = {"profiler-service": "profiler_service.cli.main", "nas-client": "nas_client.cli.main"}

_PYTEST_FOLDER = re.compile(r"pytest-of-[^/\s'\"]+")


class PartError(Exception):
    """A command or an assumption of a part failed: it cannot go on."""


class SkipPartError(Exception):
    """The part makes no sense here."""


class OutOfTimeError(Exception):
    """The part's time is up; what it has is kept.

    Args:
        message: what was not finished.
        document: JSON of the command that was interrupted, None where it printed none.
        seconds: that it took; 0 where none was started.
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
        """Why the command would not do this on this backend, ever; None where it did, or failed in another way."""
        return self._told(REFUSALS)

    @property
    def absence(self) -> str | None:
        """What the command needs that is not here: a runtime, a library, a device. None where it ended otherwise."""
        return self._told({ErrorCode.BACKEND_UNAVAILABLE})

    @property
    def last_words(self) -> str:
        """What the command says of its failure."""
        if isinstance(self.document, dict) and "error" in self.document:
            return str(self.document["error"]["message"])
        return " ".join(self.stderr.split())[-500:] or "it said nothing"

    def _told(self, codes: Set[ErrorCode]) -> str | None:
        """The message of an error of these codes."""
        error = self.document.get("error") if isinstance(self.document, dict) else None
        if self.returncode == ExitCode.BAD_INPUT and error and error.get("code") in codes:
            return str(error["message"])
        return None


class Bench:
    """One part at work.

    Args:
        choices: of the whole check.
        output: the folder of all parts.
        name: of this part; its own folder has that name.
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
        """Of every table that is measured."""
        return self.output / "opclock.sqlite"

    @property
    def remaining_s(self) -> float:
        """Until commands are interrupted."""
        return self._deadline - time.monotonic()

    def count_visits(self) -> int:
        """How many visits to engines the part's databases hold: what an interrupted command goes on from."""
        return sum(map(_count_visits, {self.database, *self.folder.glob("*.sqlite")}))

    def check(self, name: str, passed: bool, detail: str, *, aim: bool = False) -> None:
        """Note that something holds, or does not."""
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
            name: of the files that its output goes to.
            arguments: a console script of ours by its name, or this Python for what begins with `-m` or is a script.
            environment: on top of this process's.
            accepts: return codes that are no failure. A refusal with 3 always comes back, see `Ended.refusal`.

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
        """Until it ends, by itself or because its time is up; whether it was told to."""
        try:
            process.wait(timeout=max(self.remaining_s, 0.0))
        except subprocess.TimeoutExpired:
            _stop(process, signal.SIGINT)
            return True
        except BaseException:  # this process is told to end: its command does too
            _stop(process, signal.SIGINT)
            raise
        return False


def in_checkout() -> bool:
    """Whether the packages lie in the repository, with its tests and scripts, not in some folder of installed ones."""
    return (ROOT / "pyproject.toml").exists()


def require_from_repository(path: str) -> None:
    """Raises SkipPartError where a file or folder of the repository, which is not installed with the packages, is not here."""
    if not (ROOT / path).exists():
        raise SkipPartError(
            f"it needs {path} of the repository, which is not installed with the package; in a clone, "
            "`make gpu-check` or `python -m profiler_service.gpu_check` has it"
        )


def working_folder() -> Path:
    """Where commands run: in the checkout, which need not be installed; else where this one was started."""
    return ROOT if in_checkout() else Path.cwd()


def _count_visits(path: Path) -> int:
    """Of one database; 0 where it cannot be read or holds no such table yet."""
    if not path.exists():
        return 0
    with suppress(sqlite3.Error), closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as database:
        return int(database.execute("SELECT count(*) FROM visits").fetchone()[0])
    return 0


def _stop(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """End a command, and, where it does not listen, it and all that it started."""
    if process.poll() is None:
        process.send_signal(number)
        try:
            process.wait(timeout=GRACE_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _end_what_is_left(process: subprocess.Popen[bytes]) -> None:
    """Processes that a command started, in the session that it was given, and did not end itself."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _command(arguments: tuple[object, ...]) -> list[str]:
    """As the system starts it; our console scripts also where they are not installed, from this checkout."""
    first, *rest = map(str, arguments)
    if (BIN / first).exists():
        return [str(BIN / first), *rest]
    if first in _CONSOLE_SCRIPTS:
        return [sys.executable, "-c", f"from {_CONSOLE_SCRIPTS[first]} import main; main()", *rest]
    return [sys.executable, first, *rest]


def _json(text: str) -> Any:
    """The last line, if it is a JSON document, or the whole."""
    for part in (text, text.rstrip().rpartition("\n")[2]):
        try:
            return json.loads(part)
        except ValueError:
            continue
    return None


def _scrub(path: Path) -> None:
    """Results are shown to others, whom the folders of this box do not concern."""
    path.write_text(scrubbed(path.read_text(errors="replace")))


def scrubbed(text: str) -> str:
    """The same without folders of this box, and without the name of whoever pytest's temporary ones are called after."""
    for folder, short in ((BIN.parent, ".venv"), (ROOT, "."), (working_folder(), "."), (Path.home(), "~")):
        if folder != Path("/"):
            text = text.replace(str(folder), short)
    return _PYTEST_FOLDER.sub("pytest-of-user", text)
