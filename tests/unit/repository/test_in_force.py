"""Settings of the environment in tests: seen by those on real backends and devices, and by no other."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from models.spec.errors import InvalidSpecError
from profiler_service.backends.backend_options import AllOptions
from profiler_service.settings import Settings
from tests.support.in_force import options_of
from tests.support.repository import ROOT
from tests.support.skips import create_or_skip

CONTRACT = "tests/contract/test_backends.py"


def under(settings: dict[str, str], *arguments: str) -> str:
    """What pytest says of these tests under these settings."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=os.environ | settings, capture_output=True, text=True, check=False
    ).stdout.strip()


def test_options_are_those_of_the_environment_on_the_device_asked_for() -> None:
    environment = {"OPCLOCK_DEVICE": "cpu", "OPCLOCK_DEVICE_INDEX": "1", "OPCLOCK_TF32": "true"}
    assert options_of(environment, "cuda") == AllOptions(device="cuda", device_index=1, tf32=True)
    assert "OPCLOCK_TF32" not in os.environ


def test_no_test_writes_where_a_user_keeps_things_or_needs_what_is_there(tmp_path: Path) -> None:
    environment = {"OPCLOCK_CACHE_DIR": str(tmp_path), "OPCLOCK_REPLAY_BUILDS": "true"}
    assert options_of(environment, "cpu") == AllOptions(device="cpu")


def test_a_value_that_a_setting_cannot_have_is_told() -> None:
    with pytest.raises(InvalidSpecError, match=r"Settings\.tf32"):
        options_of({"OPCLOCK_TF32": "maybe"}, "cuda")


def test_what_a_backend_refuses_is_skipped_only_where_the_environment_asks_for_it() -> None:
    autotuned = AllOptions(device="cpu", max_autotune=True)
    with pytest.raises(
        pytest.skip.Exception, match="'torch' has no max_autotune, which the settings of the environment ask for"
    ):
        create_or_skip("torch", autotuned, usual=AllOptions(device="cpu"))
    with pytest.raises(InvalidSpecError, match="has no max_autotune"):
        create_or_skip("torch", autotuned, usual=autotuned)


def test_no_test_sees_the_settings_of_who_runs_it() -> None:
    assert Settings.load().model_dump(exclude_defaults=True) == {}


@pytest.mark.slow
def test_ordinary_tests_pass_whatever_the_environment_says() -> None:
    settings = {
        **{"OPCLOCK_PORT": "http", "OPCLOCK_DEVICE": "cuda", "OPCLOCK_DEVICE_ACCESS": "pycuda", "OPCLOCK_THREADS": "7"},
        **{"OPCLOCK_TF32": "true", "OPCLOCK_BACKEND": "tensorrt", "OPCLOCK_CLIENT_ATTEMPTS": "many", "opclock_core": "1"},
    }
    seen = f"{Path(__file__).relative_to(ROOT)}::{test_no_test_sees_the_settings_of_who_runs_it.__name__}"
    said = under(
        settings,
        seen,
        "tests/unit/profiler_service/test_settings.py",
        "tests/unit/profiler_service/test_diagnosis.py",
        "tests/unit/nas_client/client/test_transport.py",
    )
    assert " passed" in said
    assert " failed" not in said
    assert " error" not in said


@pytest.mark.slow
def test_the_contract_of_backends_holds_for_the_settings_in_force() -> None:
    chosen = "onnxruntime-cpu and (says_what or changes_the_target or rebuilt)"
    assert "3 passed" in under({"OPCLOCK_THREADS": "2"}, CONTRACT, "-k", chosen)
    refused = under({"OPCLOCK_MAX_AUTOTUNE": "true"}, CONTRACT, "-k", chosen)
    assert "3 skipped" in refused
    assert "backend 'onnxruntime' has no max_autotune" in refused


@pytest.mark.slow
def test_the_contract_holds_whatever_ran_before_it_in_the_same_process() -> None:
    """The first ONNX Runtime session of a process decides for all of them whether denormals are flushed on its thread."""
    said = under(
        {}, "tests/unit/models/export/test_onnx_graph.py", CONTRACT, "-k", "test_onnx_graph or (denormals and onnxruntime-cpu)"
    )
    assert " passed" in said
    assert " failed" not in said
