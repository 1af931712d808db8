"""The command: which parts, in which folder, and what is said of each as it ends."""

from __future__ import annotations

import argparse
import math
import os
import platform
import signal
import subprocess
import time
import traceback
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from rich.console import Console

from models.spec.errors import ExitCode, InvalidSpecError, OpclockError, UnknownNameError
from models.spec.measurements import Budget, ProtocolName
from models.spec.operators import DTYPE_BYTES
from profiler_service.cli.runtime import describe_backend
from profiler_service.errors import BackendUnavailableError
from profiler_service.settings import Settings, require_known_settings
from profiler_service.version import service_version
from scripts.gpu_check.bench import ROOT, Bench, OutOfTimeError, PartError, SkipPartError, scrubbed
from scripts.gpu_check.choices import ON_A_GPU, REHEARSAL, Choices, keep, resolve, settings_in_force, settings_that_count
from scripts.gpu_check.plan import Part, plan
from scripts.gpu_check.results import Outcome, PartResult, read_result, write_result

LIMIT_S = 440.0
"""Of one part, before its commands are interrupted; with the time to end well under nine minutes."""

UNFINISHED = 75
"""Exit code where a part's time was up: EX_TEMPFAIL, try again."""

CALLS_IN_VAIN = 3
"""Calls of an unfinished part that leave it where it was, after which a run of all parts goes on to the next."""

CONSOLE = Console(highlight=False, soft_wrap=True)
_STYLES = {Outcome.DONE: "green", Outcome.SKIPPED: "dim", Outcome.UNFINISHED: "yellow", Outcome.FAILED: "bold red"}


def main() -> int:
    """0 everything named is done or makes no sense here; 4 something failed; 75 something needs another call."""
    options = _parser().parse_args()
    try:
        require_known_settings(os.environ)
        choices = resolve(_choices(options))
        parts = plan(choices, reference=options.reference, tables=options.tables.resolve())
        output = (options.output or Path("build") / ("gpu-check-rehearsal" if options.rehearse else "gpu-check")).resolve()
        wanted = _wanted(parts, options.part)
        if options.list:
            _list(parts, output)
            return 0
        keep(choices, output)
        results = [_see_through(part, choices, output, options, again=not options.part) for part in wanted]
    except OpclockError as error:
        return _refused(error.message, error.hint, error.exit_code)
    except OSError as error:
        path = f" {os.fspath(error.filename)!r}" if error.filename else ""
        hint = "Check the path, its permissions and the disk, or name another --output."
        return _refused(f"cannot use{path}: {error.strerror or error}", hint, ExitCode.BAD_INPUT)
    except KeyboardInterrupt:
        CONSOLE.print("interrupted; the same command goes on where it was")
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
    outcome, reason = Outcome.DONE, ""
    try:
        if part.gpu and choices.device != "cuda":
            raise SkipPartError("it needs a GPU")
        if part.backend is not None:
            _require_usable(part.backend, choices)
        part.run(bench)
        failed = [check for check in bench.checks if not check.passed and not check.aim]
        if failed:
            outcome, reason = Outcome.FAILED, "; ".join(f"{check.name}: {check.detail}" for check in failed)
    except SkipPartError as skipped:
        outcome, reason = Outcome.SKIPPED, str(skipped)
    except OutOfTimeError as late:
        outcome, reason = Outcome.UNFINISHED, str(late)
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
        commands=tuple(bench.commands),
        started_at=started_at,
        seconds=round(time.monotonic() - started, 3),
        provenance=_provenance() | settings_in_force(Settings.load()),
    )
    write_result(result, bench.folder)
    return result


def _see_through(part: Part, choices: Choices, output: Path, options: argparse.Namespace, *, again: bool) -> PartResult:
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
        before, result = result, run_part(part, choices, output, options.limit)
        _tell(result)
        in_vain = in_vain + 1 if before is not None and before.summary == result.summary else 0
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
    """What git says; empty where there is no repository or no git."""
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S607
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _tell(result: PartResult) -> None:
    style = _STYLES[result.outcome]
    CONSOLE.print(f"[{style}]{result.outcome.value:<11}[/] {result.part}, {result.seconds:.0f} s", end="")
    CONSOLE.print(f": {result.reason}" if result.reason else "", markup=False)
    for check in result.checks:
        if not check.passed:
            CONSOLE.print(f"            {'aim missed' if check.aim else 'FAILED'}: {check.name}: {check.detail}", markup=False)


def _wanted(parts: Sequence[Part], names: Sequence[str] | None) -> list[Part]:
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


def _choices(options: argparse.Namespace) -> Choices:
    """The preset, with what the command line says otherwise, and the environment's settings."""
    preset = REHEARSAL if options.rehearse else ON_A_GPU
    single = ("device", "space", "input_size", "budget", "shares", "sample", "architectures", "at_once")
    changes: dict[str, Any] = {name: getattr(options, name) for name in single if getattr(options, name) is not None}
    several = {"backends": options.backend, "dtypes": options.dtype, "protocols": options.protocol}
    changes |= {name: tuple(value) for name, value in several.items() if value}
    if options.parameter is not None:
        changes["parameters"] = tuple(parameter for parameter in options.parameter if parameter)
    return replace(preset, **changes, settings=settings_that_count(Settings.load()))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m scripts.gpu_check", description="What a GPU box has to show, part by part; see docs/gpu.md."
    )
    add = parser.add_argument
    add("--list", action="store_true", help="name the parts, and how far each is, and do nothing")
    add("--part", action="append", metavar="NAME", help="only this part, once; repeatable")
    add("--output", type=Path, help="folder of results (build/gpu-check)")
    add("--rehearse", action="store_true", help="on the CPU, in a small space: is everything in place?")
    add("--redo", action="store_true", help="repeat parts that are done")
    add("--limit", type=_seconds, default=LIMIT_S, metavar="S", help=f"seconds before a part is interrupted ({LIMIT_S:.0f})")
    add("--reference", type=Path, default=_reference(), metavar="DIR", help="data published with papers (OPCLOCK_REFERENCE)")
    add("--tables", type=Path, default=ROOT / "lut_data", metavar="DIR", help="where `publish` puts tables (lut_data)")
    choose = parser.add_argument_group("what is measured; the same for everything in one folder")
    add = choose.add_argument
    add("--device", choices=["cuda", "cpu"])
    add("--backend", action="append", metavar="NAME", help="all that run on the device, unless named; repeatable")
    add("--dtype", action="append", choices=sorted(DTYPE_BYTES), help="repeatable")
    add("--protocol", action="append", choices=[name.value for name in ProtocolName], help="all, unless named; repeatable")
    add("--space", metavar="NAME")
    add("--input-size", metavar="HxW")
    add("--parameter", action="append", metavar="NAME=N,…", help="of the space; repeatable; '' for the usual ones")
    add("--budget", choices=[budget.value for budget in Budget])
    add("--shares", type=int, metavar="N", help="commands that one table is measured by")
    add("--sample", type=int, metavar="N", help="entries whose repeatability is looked at")
    add("--architectures", type=int, metavar="N", help="networks of a validation")
    add("--at-once", type=int, metavar="N", help="networks that one command measures, interleaved")
    return parser


def _seconds(text: str) -> float:
    """Raises ArgumentTypeError where the text is no number of seconds that a command could run for."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number of seconds above 0, not {text!r}")
    return value


def _reference() -> Path:
    return Path(os.environ.get("OPCLOCK_REFERENCE", ROOT.parent / "shared" / "reference"))
