"""What `doctor` looks at, each check with a finding for good and for bad."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from models.spec.errors import UnknownNameError
from models.spec.targets import TargetSpec
from profiler_service.backends.backend_options import DeviceKind
from profiler_service.backends.device.nvml import GpuState, Survey
from profiler_service.backends.errors import NO_DRIVER
from profiler_service.conditions import CpuBounds
from profiler_service.diagnosis import Finding, Outcome, cpu_findings, diagnose, governor
from profiler_service.errors import BackendUnavailableError
from profiler_service.settings import Settings
from profiler_service.worker.protocol import BackendDescription
from tests.support.plugins import Environment, environment_fixture

__all__ = ["environment_fixture"]


def describe(settings: Settings) -> BackendDescription:
    """torch is missing here."""
    if settings.backend == "torch":
        raise BackendUnavailableError("torch is not installed", hint="pip install torch")
    target = TargetSpec(device="CPU", backend=settings.backend, threads=settings.threads)
    return BackendDescription(target, ("float32",), reads_onnx=True, builds_on_device=False)


def test_plugins_are_listed_with_versions_and_with_what_is_wrong_with_them(tmp_path: Path, environment: Environment) -> None:
    settings = Settings.load(database=tmp_path / "d.sqlite")
    assert findings(settings)["plugins"].detail == "none"
    environment.install("broken-space", "0.3", {"broken_space": "1 / 0"}, spaces={"broken": "broken_space:Broken"})
    environment.install("some-data", "2.0", datasets={"some": "never:imported", "more": "never:imported"})
    found = findings(settings)
    broken, data = found["plugin broken-space 0.3"], found["plugin some-data 2.0"]
    assert broken.outcome is Outcome.WARNING
    assert broken.detail == "search space 'broken' of broken-space 0.3 cannot be loaded: ZeroDivisionError: division by zero"
    assert broken.hint == "Repair it, or uninstall it or leave it out of OPCLOCK_PLUGINS."
    assert (data.outcome, data.detail) == (Outcome.OK, "data set more, some")
    assert "plugins" not in found


def no_driver() -> Survey:
    raise BackendUnavailableError(NO_DRIVER, hint="install one")


def one_gpu() -> Survey:
    return Survey("580.65.06", (GpuState(0, "NVIDIA H200", (9, 0), 2**37, 2**37),))


def findings(settings: Settings, survey: Callable[[], Survey] = no_driver) -> dict[str, Finding]:
    return {finding.name: finding for finding in diagnose(settings, describe, survey)}


@pytest.mark.parametrize(("backend", "outcome"), [("onnxruntime", Outcome.WARNING), ("torch", Outcome.PROBLEM)])
def test_a_missing_backend_is_a_problem_only_for_who_wants_it(tmp_path: Path, backend: str, outcome: Outcome) -> None:
    found = findings(Settings.load(database=tmp_path / "d.sqlite", backend=backend))
    assert found["backend torch"].outcome is outcome
    assert found["backend torch"].hint == "pip install torch"
    assert found["backend onnxruntime"].outcome is Outcome.OK


def test_without_a_driver_only_a_wanted_backend_is_asked_about_a_gpu(tmp_path: Path) -> None:
    found = findings(Settings.load(database=tmp_path / "d.sqlite"))
    assert found["gpu"].outcome is Outcome.OK
    assert found["gpu"].detail == f"{NO_DRIVER}; not asked on a GPU: inductor, onnxruntime, tensorrt, tensorrt_rtx, torch"
    assert not [name for name in found if name.endswith("on cuda")]

    found = findings(Settings.load(database=tmp_path / "d.sqlite", backend="torch", device="cuda"))
    assert found["backend torch on cuda"].outcome is Outcome.PROBLEM
    assert found["backend torch"].outcome is Outcome.WARNING


@pytest.mark.parametrize(
    ("message", "device", "outcome"),
    [
        (NO_DRIVER, "cpu", Outcome.OK),
        (NO_DRIVER, "cuda", Outcome.PROBLEM),
        ("nvidia-ml-py is not installed", "cpu", Outcome.WARNING),
        ("the NVIDIA driver is not ready", "cuda", Outcome.PROBLEM),
    ],
)
def test_a_survey_that_fails_is_fine_only_without_a_driver_and_on_a_cpu(
    tmp_path: Path, message: str, device: DeviceKind, outcome: Outcome
) -> None:
    def fails() -> Survey:
        raise BackendUnavailableError(message, hint="mend it")

    found = findings(Settings.load(database=tmp_path / "d.sqlite", backend="torch", device=device), fails)
    hint = "" if outcome is Outcome.OK else "mend it"  # what is fine asks for nothing
    assert (found["gpu"].outcome, found["gpu"].hint) == (outcome, hint)


def test_with_a_gpu_every_backend_is_asked_about_it(tmp_path: Path) -> None:
    found = findings(Settings.load(database=tmp_path / "d.sqlite"), one_gpu)
    assert found["gpu 0"].outcome is Outcome.OK
    assert {"backend inductor on cuda", "backend onnxruntime on cuda", "backend tensorrt", "backend torch on cuda"} <= set(
        found
    )


def test_a_kind_of_device_that_the_backend_does_not_run_on_is_a_problem(tmp_path: Path) -> None:
    asked: list[tuple[str, str | None]] = []

    def refuse(settings: Settings) -> BackendDescription:
        asked.append((settings.backend, settings.device))
        raise UnknownNameError("it does not run there")

    settings = Settings.load(database=tmp_path / "d.sqlite", backend="tensorrt", device="cpu")
    first = next(found for found in diagnose(settings, refuse, no_driver) if found.name.startswith("backend"))
    assert asked[0] == ("tensorrt", "cpu")
    assert (first.name, first.outcome) == ("backend tensorrt on cpu", Outcome.PROBLEM)


def test_a_variable_that_was_meant_to_be_a_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings.load(database=tmp_path / "d.sqlite")
    monkeypatch.setenv("OPCLOCK_THREADS", "1")
    found = findings(settings)
    assert found["settings"].outcome is Outcome.OK
    monkeypatch.setenv("OPCLOCK_THREDS", "2")
    found = findings(settings)
    assert "settings" not in found
    told = found["setting OPCLOCK_THREDS"]
    assert (told.outcome, told.hint) == (Outcome.WARNING, "Did you mean OPCLOCK_THREADS?")


def test_a_database_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "d.sqlite"
    settings = Settings.load(database=path)
    assert findings(settings)["database"].outcome is Outcome.OK
    assert not path.exists()

    path.write_bytes(b"this is no database" * 100)

    assert findings(settings)["database"].outcome is Outcome.PROBLEM


def test_more_threads_than_cores(tmp_path: Path) -> None:
    found = findings(Settings.load(database=tmp_path / "d.sqlite", threads=256))
    assert found["cores"].outcome is Outcome.PROBLEM
    assert "--threads" in found["cores"].hint


@pytest.mark.parametrize(("quota", "outcome"), [(1.5, Outcome.WARNING), (2.0, Outcome.OK)])
def test_a_quota_that_leaves_no_core_beside_the_engines_threads(quota: float, outcome: Outcome) -> None:
    told = {found.name: found for found in cpu_findings(CpuBounds(machine_cores=8, usable=(0, 1), quota_cores=quota), 1)}
    assert (told["cpu quota"].outcome, bool(told["cpu quota"].hint)) == (outcome, outcome is Outcome.WARNING)
    assert told["cpuset"].detail == "cores 0-1 of 8 may be used"
    assert list(cpu_findings(CpuBounds(machine_cores=2, usable=(0, 1)), 1)) == []


def test_other_work_is_looked_for(tmp_path: Path) -> None:
    assert "other work" in findings(Settings.load(database=tmp_path / "d.sqlite"))


@pytest.mark.parametrize(
    ("text", "outcome"), [("performance\n", Outcome.OK), ("powersave\n", Outcome.WARNING), (None, Outcome.OK)]
)
def test_the_governor(tmp_path: Path, text: str | None, outcome: Outcome) -> None:
    path = tmp_path / "scaling_governor"
    if text is not None:
        path.write_text(text)
    assert governor(path).outcome is outcome
