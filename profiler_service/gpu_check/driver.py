"""Runs the parts of a check in one folder, and prints how each ends."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from rich.console import Console

from models.spec.errors import ExitCode, InvalidSpecError, OpclockError, UnknownNameError
from profiler_service.cli.runtime import describe_backend
from profiler_service.errors import BackendUnavailableError
from profiler_service.gpu_check.bench import (
    ROOT,
    Bench,
    OutOfTimeError,
    PartError,
    SkipPartError,
    in_checkout,
    scrubbed,
    working_folder,
)
from profiler_service.gpu_check.choices import (
    ON_A_GPU,
    REHEARSAL,
    Choices,
    keep,
    resolve,
    settings_in_force,
    settings_that_count,
)
from profiler_service.gpu_check.plan import Part, plan
from profiler_service.gpu_check.results import Outcome, PartResult, read_result, write_result
from profiler_service.settings import Settings, require_known_settings
from profiler_service.version import service_version

UNFINISHED = 75
"""Exit code where a part's time was up: EX_TEMPFAIL, try again."""

CALLS_IN_VAIN = 3
"""Calls of an unfinished part that leave it where it was, after which a run of all parts goes on to the next."""

CONSOLE = Console(highlight=False, soft_wrap=True)
_STYLES = {Outcome.DONE: "green", Outcome.SKIPPED: "dim", Outcome.UNFINISHED: "yellow", Outcome.FAILED: "bold red"}


@dataclass(frozen=True)
class Options:
    """What the command line says.

    Attributes:
        limit_s: seconds before the commands of a part are interrupted.
        parts: names of those to run, once; none for all.
        list_only: list the parts and run nothing.
        output, reference, tables: folders of results, of the papers' data, of published tables; None for the defaults.
        rehearse: on the CPU, in a small space.
        redo: whether parts that are done are repeated.
        changes: fields of `Choices` that differ from the preset.
    """

    limit_s: float
    parts: tuple[str, ...] = ()
    list_only: bool = False
    output: Path | None = None
    reference: Path | None = None
    tables: Path | None = None
    rehearse: bool = False
    redo: bool = False
    changes: Mapping[str, Any] = field(default_factory=dict)


def run(options: Options) -> int:
    """0 everything named is done or makes no sense here; 4 something failed; 75 something needs another call."""
    try:
        require_known_settings(os.environ)
        choices = resolve(_choices(options))
        tables = options.tables or working_folder() / "lut_data"
        parts = plan(choices, reference=options.reference or _reference(), tables=tables.resolve())
        output = (options.output or Path("build") / ("gpu-check-rehearsal" if options.rehearse else "gpu-check")).resolve()
        wanted = _wanted(parts, options.parts)
        if options.list_only:
            _list(parts, output)
            return 0
        keep(choices, output)
        results = [_see_through(part, choices, output, options, again=not options.parts) for part in wanted]
    except OpclockError as error:
        return _refused(error.message, error.hint, error.exit_code)
    except OSError as error:
        path = f" {os.fspath(error.filename)!r}" if error.filename else ""
        hint = "Check the path, its permissions and the disk, or name another --output."
        return _refused(f"cannot use{path}: {error.strerror or error}", hint, ExitCode.BAD_INPUT)
    except KeyboardInterrupt:
        CONSOLE.print("interrupted; run the same command again to go on")
        return 128 + signal.SIGINT
    outcomes = {result.outcome for result in results}
    if Outcome.FAILED in outcomes:
        return int(ExitCode.WORKLOADS_FAILED)
    return UNFINISHED if Outcome.UNFINISHED in outcomes else 0


def _refused(message: str, hint: str, code: ExitCode) -> int:
    """Say what was wrong and what to do next; the exit code."""
    CONSOLE.print(f"error: {message}", style="bold red", markup=False)
    if hint:
        CONSOLE.print(hint, markup=False)
    return int(code)


def run_part(part: Part, choices: Choices, output: Path, limit_s: float) -> PartResult:
    """Run a part once, and keep how it ended."""
    bench = Bench(choices, output, part.name, limit_s)
    started_at, started = datetime.now(UTC), time.monotonic()
    outcome, reason, visits = Outcome.DONE, "", 0
    try:
        if part.gpu and choices.device != "cuda":
            raise SkipPartError("this part needs a GPU")
        if part.backend is not None:
            _require_usable(part.backend, choices)
        part.run(bench)
        failed = [check for check in bench.checks if not check.passed and not check.aim]
        if failed:
            outcome, reason = Outcome.FAILED, "; ".join(f"{check.name}: {check.detail}" for check in failed)
    except SkipPartError as skipped:
        outcome, reason = Outcome.SKIPPED, str(skipped)
    except OutOfTimeError as late:
        outcome, reason, visits = Outcome.UNFINISHED, str(late), bench.count_visits()
    except (PartError, OpclockError) as error:
        outcome, reason = Outcome.FAILED, str(error)
    except Exception as error:  # a mistake of one part must not cost the others, and on a GPU box time is short
        (bench.folder / "traceback.txt").write_text(scrubbed(traceback.format_exc()))
        outcome, reason = Outcome.FAILED, f"{type(error).__name__}: {error}; see traceback.txt"
    result = PartResult(
        part=part.name,
        outcome=outcome,
        reason=scrubbed(reason),
        checks=tuple(bench.checks),
        summary=bench.summary,
        visits=visits,
        commands=tuple(bench.commands),
        started_at=started_at,
        seconds=round(time.monotonic() - started, 3),
        provenance=_provenance() | settings_in_force(Settings.load()),
    )
    write_result(result, bench.folder)
    return result


def _see_through(part: Part, choices: Choices, output: Path, options: Options, *, again: bool) -> PartResult:
    """The part's result, from before or now.

    Where all parts are run, one that was not finished goes on at once, until several calls have not brought it forward.
    """
    result = read_result(output / part.name)
    if result is not None and result.finished and not (options.redo or part.always):
        CONSOLE.print(f"[green]done[/]        {part.name} (before)")
        return result
    in_vain = 0
    while True:
        CONSOLE.print(f"[bold cyan]▶[/] {part.name}: {part.about}")
        before, result = result, run_part(part, choices, output, options.limit_s)
        _report(result)
        stood_still = before is not None and (before.summary, before.visits) == (result.summary, result.visits)
        in_vain = in_vain + 1 if stood_still else 0
        if not again or result.outcome is not Outcome.UNFINISHED or in_vain >= CALLS_IN_VAIN:
            return result


def _require_usable(backend: str, choices: Choices) -> None:
    """Raises SkipPartError that says why the backend cannot run here, or not as the settings ask."""
    if (problem := _problem(backend, choices.device)) is not None:
        raise SkipPartError(problem)


@cache
def _problem(backend: str, device: str) -> str | None:
    try:
        describe_backend(Settings.load(backend=backend, device=device))
    except (BackendUnavailableError, InvalidSpecError) as error:
        return f"{error.message}. {error.hint}" if error.hint else error.message
    return None


@cache
def _provenance() -> dict[str, str]:
    """Of the code and the box, without the box's name and its settings."""
    return {
        "opclock": service_version(),
        "commit": _git("rev-parse", "HEAD"),
        "changed": "yes" if _git("status", "--porcelain", "--untracked-files=no") else "no",
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": str(os.cpu_count()),
    }


def _git(*arguments: str) -> str:
    """What git says; empty where there is no repository of ours or no git."""
    if not in_checkout():
        return ""
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S607
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _report(result: PartResult) -> None:
    style = _STYLES[result.outcome]
    CONSOLE.print(f"[{style}]{result.outcome.value:<11}[/] {result.part}, {result.seconds:.0f} s", end="")
    CONSOLE.print(f": {result.reason}" if result.reason else "", markup=False)
    for check in result.checks:
        if not check.passed:
            CONSOLE.print(f"            {'aim missed' if check.aim else 'FAILED'}: {check.name}: {check.detail}", markup=False)


def _wanted(parts: Sequence[Part], names: Sequence[str]) -> list[Part]:
    """The parts of these names, or all that need not be named. Raises UnknownNameError."""
    if not names:
        return [part for part in parts if not part.only_if_named]
    by_name = {part.name: part for part in parts}
    for name in names:
        if name not in by_name:
            error = UnknownNameError.of("part", name, by_name)
            error.hint += " --list names all parts."
            raise error
    return [by_name[name] for name in names]


def _list(parts: Sequence[Part], output: Path) -> None:
    for part in parts:
        result = read_result(output / part.name)
        state = "only if named" if part.only_if_named and result is None else "" if result is None else result.outcome.value
        CONSOLE.print(f"{part.name:<44} {state:<14} {part.about}", markup=False)


def _choices(options: Options) -> Choices:
    """The preset, with what the command line says otherwise, and the environment's settings."""
    preset = REHEARSAL if options.rehearse else ON_A_GPU
    return replace(preset, **options.changes, settings=settings_that_count(Settings.load()))


def _reference() -> Path:
    return ROOT.parent / "shared" / "reference"
