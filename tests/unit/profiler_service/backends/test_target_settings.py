"""A target says with which settings it is measured again."""

from __future__ import annotations

import pytest

from models.spec.targets import TargetSpec
from profiler_service.settings import Settings


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, {}),
        ({"options": {"mode": "eager", "device": "cpu"}}, {}),
        ({"options": {"device": "cuda", "mode": "captured", "cudnn_benchmark": "off"}}, {"OPCLOCK_DEVICE": "cuda"}),
        (
            {"options": {"device": "cuda", "mode": "compiled", "max_autotune": "on", "cudnn_benchmark": "on"}},
            {
                "OPCLOCK_DEVICE": "cuda",
                "OPCLOCK_CUDA_GRAPHS": "false",
                "OPCLOCK_MAX_AUTOTUNE": "true",
                "OPCLOCK_CUDNN_BENCHMARK": "true",
            },
        ),
        (
            {"options": {"device": "cuda", "cudnn_conv_algo_search": "exhaustive"}, "precision": {"tf32": "on"}},
            {"OPCLOCK_DEVICE": "cuda", "OPCLOCK_TF32": "true", "OPCLOCK_CUDNN_BENCHMARK": "true"},
        ),
    ],
)
def test_settings(fields: dict[str, dict[str, str]], expected: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    target = TargetSpec(device="d", backend="torch", **fields)
    assert target.settings() == expected
    for name, value in expected.items():
        monkeypatch.setenv(name, value)
    changed = Settings.load().model_dump(mode="json", exclude_defaults=True)
    assert {f"OPCLOCK_{name.upper()}" for name in changed} == set(expected), "each is a setting, and not its default"
