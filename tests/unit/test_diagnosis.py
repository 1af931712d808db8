"""What `doctor` looks at, each check with a finding for good and for bad."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.spec.targets import TargetSpec
from profiler_service.diagnosis import diagnose, governor
from profiler_service.errors import BackendUnavailableError
from profiler_service.findings import Finding, Outcome
from profiler_service.jobs.messages import BackendDescription
from profiler_service.settings import Settings


def describe(settings: Settings) -> BackendDescription:
    """torch is missing here."""
    if settings.backend == "torch":
        raise BackendUnavailableError("torch is not installed", hint="pip install torch")
    target = TargetSpec(device="CPU", backend=settings.backend, threads=settings.threads)
    return BackendDescription(target, ("float32",), reads_onnx=True, builds_on_device=False)


def findings(settings: Settings) -> dict[str, Finding]:
    return {finding.name: finding for finding in diagnose(settings, describe)}


@pytest.mark.parametrize(("backend", "outcome"), [("onnxruntime", Outcome.WARNING), ("torch", Outcome.PROBLEM)])
def test_a_missing_backend_is_a_problem_only_for_who_wants_it(tmp_path: Path, backend: str, outcome: Outcome) -> None:
    found = findings(Settings.load(database=tmp_path / "d.sqlite", backend=backend))
    assert found["backend torch"].outcome is outcome
    assert found["backend torch"].hint == "pip install torch"
    assert found["backend onnxruntime"].outcome is Outcome.OK


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


@pytest.mark.parametrize(
    ("text", "outcome"), [("performance\n", Outcome.OK), ("powersave\n", Outcome.WARNING), (None, Outcome.OK)]
)
def test_the_governor(tmp_path: Path, text: str | None, outcome: Outcome) -> None:
    path = tmp_path / "scaling_governor"
    if text is not None:
        path.write_text(text)
    assert governor(path).outcome is outcome
