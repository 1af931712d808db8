"""A target says under which settings it is measured again, and they are no part of what it is."""

from __future__ import annotations

from typing import Any

import pytest

from models.spec.targets import TargetSpec
from profiler_service.backends.backend_options import AllOptions
from profiler_service.backends.registry import options_for, target_settings
from profiler_service.settings import Settings


@pytest.mark.parametrize(
    ("name", "chosen", "expected"),
    [
        ("torch", {}, {}),
        ("torch", {"device": "cpu", "cuda_graphs": False}, {}),
        ("onnxruntime", {"threads": 4}, {"OPCLOCK_THREADS": "4"}),
        ("torch", {"device": "cuda"}, {"OPCLOCK_DEVICE": "cuda"}),
        (
            "inductor",
            {"device": "cuda", "cuda_graphs": False, "max_autotune": True, "cudnn_benchmark": True},
            {
                "OPCLOCK_DEVICE": "cuda",
                "OPCLOCK_CUDA_GRAPHS": "false",
                "OPCLOCK_MAX_AUTOTUNE": "true",
                "OPCLOCK_CUDNN_BENCHMARK": "true",
            },
        ),
        (
            "onnxruntime",
            {"device": "cuda", "tf32": True, "cudnn_benchmark": True, "device_index": 1, "device_access": "pycuda"},
            {"OPCLOCK_DEVICE": "cuda", "OPCLOCK_TF32": "true", "OPCLOCK_CUDNN_BENCHMARK": "true"},
        ),
        ("tensorrt", {"device": "cuda", "tf32": True, "replay_builds": True, "cache_dir": "x"}, {"OPCLOCK_TF32": "true"}),
    ],
)
def test_settings(name: str, chosen: dict[str, Any], expected: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    options = options_for(name, AllOptions.parse(chosen))
    assert target_settings(name, options) == expected
    for variable, value in expected.items():
        monkeypatch.setenv(variable, value)
    settings = Settings.load(backend=name)
    changed = settings.model_dump(mode="json", exclude_defaults=True, exclude={"backend"})
    assert {f"OPCLOCK_{option.upper()}" for option in changed} == set(expected), "each is a setting, and not its default"
    assert target_settings(name, settings.chosen_options()) == expected, "and they lead to the same target"


def test_they_are_no_part_of_what_a_target_is() -> None:
    before = TargetSpec(device="d", backend="torch", options={"mode": "eager"})
    told = before.model_copy(update={"settings": {"OPCLOCK_DEVICE": "cuda"}})
    assert told.id() == before.id() == "825896242e44fdcf"
    assert before.differences(told) == []
    assert TargetSpec.parse({"device": "d", "backend": "torch", "options": {"mode": "eager"}}).settings is None
