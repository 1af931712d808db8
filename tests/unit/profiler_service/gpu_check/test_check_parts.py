"""Parts that check the box, with checks of clocks that crash or make no sense: the first is a failure, the second is not."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from profiler_service.gpu_check import bench as bench_module
from profiler_service.gpu_check import check_parts
from profiler_service.gpu_check.bench import Bench, Ended
from profiler_service.gpu_check.choices import ON_A_GPU, REHEARSAL, Choices
from profiler_service.gpu_check.driver import run_part
from profiler_service.gpu_check.plan import Part
from profiler_service.gpu_check.results import Outcome, PartResult

RAISING = """
import sys
from models.spec.errors import InvalidSpecError
from profiler_service.errors import BackendUnavailableError, BuildError, DeviceMemoryError, RunError
from profiler_service.gpu_check import {module} as module

def fail(*_):
    raise {error}

module.{function} = fail
sys.exit(module.main())
"""
"""A process of checks in which something is raised."""

Injecting = Callable[[dict[str, str]], None]


@pytest.fixture
def injecting(monkeypatch: pytest.MonkeyPatch) -> Injecting:
    """Has the processes of checks run other code: that whose key is among their arguments."""
    usual = bench_module._command

    def setup(codes: dict[str, str]) -> None:
        def command(arguments: tuple[object, ...]) -> list[str]:
            for key, code in codes.items():
                if key in arguments:
                    return [sys.executable, "-c", code, *map(str, arguments[2:])]
            return usual(arguments)

        monkeypatch.setattr(bench_module, "_command", command)

    return setup


def ended(output: Path, run: Callable[[Bench], None], choices: Choices = REHEARSAL) -> PartResult:
    return run_part(Part("part", "pretends", run), choices, output, 60.0)


@pytest.mark.parametrize(
    ("error", "outcome", "reason"),
    [
        ("RunError('the clock stood still')", Outcome.FAILED, "clocks ended with 3: the clock stood still"),
        ("DeviceMemoryError('no room')", Outcome.FAILED, "clocks ended with 3: no room"),
        ("ZeroDivisionError('by zero')", Outcome.FAILED, "clocks ended with 1"),
        ("SystemExit(3)", Outcome.FAILED, "clocks ended with 3: no message"),
        ("InvalidSpecError('no such dtype')", Outcome.SKIPPED, "no such dtype"),
        ("BackendUnavailableError('no such runtime')", Outcome.SKIPPED, "no such runtime"),
    ],
)
def test_a_clock_that_crashes_fails_its_part(
    tmp_path: Path, injecting: Injecting, error: str, outcome: Outcome, reason: str
) -> None:
    injecting({"profiler_service.gpu_check.clocks": RAISING.format(module="clocks", function="measure", error=error)})
    result = ended(tmp_path, partial(check_parts.clocks, backend="onnxruntime"))
    assert result.outcome is outcome
    assert result.reason.startswith(reason)


def copying(error: str) -> str:
    return RAISING.format(module="peaks", function="open_device", error=error)


ABSENT = copying("BackendUnavailableError('it is not installed')")


@pytest.mark.parametrize(
    ("run", "lacking"),
    [
        (partial(check_parts.contract, backend="onnxruntime"), "tests/contract/test_backends.py"),
        (check_parts.device_contract, "tests/contract/test_devices.py"),
        (check_parts.probe, "scripts/probe_tensorrt_rtx.py"),
    ],
)
def test_what_only_the_repository_has_is_skipped_where_the_package_is_installed_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Callable[[Bench], None], lacking: str
) -> None:
    monkeypatch.setattr(bench_module, "ROOT", tmp_path / "site-packages")
    result = ended(tmp_path / "output", run)
    assert (result.outcome, result.commands) == (Outcome.SKIPPED, ())
    assert result.reason.startswith(f"this part needs {lacking} of the repository")
    assert "in a clone, `make gpu-check`" in result.reason


@pytest.mark.parametrize("error", ["RunError('cuMemcpyDtoDAsync returned 700')", "BuildError('no capture')"])
def test_a_library_that_is_there_and_fails_fails_the_copies(tmp_path: Path, injecting: Injecting, error: str) -> None:
    injecting({"cuda-core": copying(error), "pycuda": ABSENT})
    result = ended(tmp_path, check_parts.device_clocks)
    assert result.outcome is Outcome.FAILED
    assert result.reason.startswith("cuda-core: it copies: cuda-core ended with 3: ")
    assert result.summary["absent"] == ["pycuda: it is not installed"]


def test_a_box_without_any_library_has_no_copies_to_check(tmp_path: Path, injecting: Injecting) -> None:
    injecting({"cuda-core": ABSENT, "pycuda": ABSENT})
    result = ended(tmp_path, check_parts.device_clocks)
    assert (result.outcome, result.reason) == (
        Outcome.SKIPPED,
        "cuda-core: it is not installed; pycuda: it is not installed",
    )


@pytest.mark.parametrize(
    ("findings", "device", "usable"),
    [
        ({"backend torch": "ok", "backend torch on cuda": "warning", "backend tensorrt": "problem"}, "cuda", None),
        ({"backend torch": "ok", "backend torch on cuda": "ok"}, "cuda", "backend torch on cuda"),
        ({"backend torch": "ok", "backend tensorrt": "ok"}, "cuda", "backend tensorrt"),
        ({"backend torch": "ok", "backend tensorrt": "problem"}, "cpu", "backend torch"),
        ({"backend torch": "warning", "backend tensorrt": "ok", "backend torch on cuda": "ok"}, "cpu", None),
    ],
)
def test_only_a_backend_on_the_device_in_question_is_usable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, findings: dict[str, str], device: Any, usable: str | None
) -> None:
    document = {"findings": [{"name": name, "outcome": outcome} for name, outcome in findings.items()]}
    monkeypatch.setattr(Bench, "run", lambda *_args, **_options: Ended(0, document, ""))
    monkeypatch.setattr(check_parts.shutil, "which", lambda _name: None)
    (check,) = ended(tmp_path, check_parts.environment, replace(ON_A_GPU, device=device)).checks
    assert (check.passed, check.detail) == (usable is not None, usable or f"none of them on {device}")
