"""Backends by name, and runtimes that are not there."""

from __future__ import annotations

import sys

import pytest

from models.spec.errors import InvalidSpecError, UnknownNameError
from models.spec.targets import TargetSpec
from profiler_service.backends import registry
from profiler_service.backends.base import Backend, Engine, GraphArtifact
from profiler_service.backends.cpu import CpuBackend
from profiler_service.backends.options import BackendOptions
from profiler_service.backends.versions import numbers
from profiler_service.errors import BackendUnavailableError


def test_offers_the_nearest_name() -> None:
    with pytest.raises(UnknownNameError, match="unknown backend 'onnxruntme'") as caught:
        registry.create_backend("onnxruntme")
    assert caught.value.hint == "Did you mean 'onnxruntime'?"


@pytest.mark.parametrize(
    ("name", "runtime", "extra"), [("onnxruntime", "onnxruntime", "onnxruntime"), ("torch", "torch", "graphs")]
)
def test_names_the_extra_of_a_runtime_that_is_not_installed(
    name: str, runtime: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, f"profiler_service.backends.{runtime}_cpu", raising=False)
    monkeypatch.setitem(sys.modules, runtime, None)
    with pytest.raises(BackendUnavailableError, match=f"backend '{name}' cannot be loaded") as caught:
        registry.create_backend(name)
    assert caught.value.hint == f"pip install 'opclock[{extra}]'"


def test_an_import_error_of_our_own_is_not_taken_for_a_missing_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "profiler_service.backends.onnxruntime_cpu", raising=False)
    monkeypatch.setitem(sys.modules, "profiler_service.backends.cpu", None)
    with pytest.raises(ImportError):
        registry.create_backend("onnxruntime")


def test_a_known_name_is_not_taken_over() -> None:
    impostor = type("Impostor", (Backend,), {"name": "onnxruntime"})
    with pytest.raises(InvalidSpecError, match="'onnxruntime' is registered already"):
        registry.register_backend(impostor)


@pytest.mark.parametrize("field", ["threads", "device_index"])
def test_options_are_bounded(field: str) -> None:
    with pytest.raises(InvalidSpecError, match=field):
        BackendOptions.parse({field: -1})


def test_a_runtime_of_an_unsupported_version_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'opclock[graphs]'")
    monkeypatch.setattr(torch, "__version__", "2.5.1+cu124")
    for name in ("torch", "inductor"):
        with pytest.raises(
            BackendUnavailableError, match=r"torch 2\.5\.1\+cu124 is not supported: 2\.6 is the oldest"
        ) as caught:
            registry.create_backend(name)
        assert caught.value.hint == "pip install 'opclock[graphs]'"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_autotune": True}, "has no max_autotune"),
        ({"cudnn_benchmark": True}, "has no cudnn_benchmark"),
        ({"replay_builds": True}, "cannot replay builds"),
    ],
)
def test_what_a_backend_does_not_know_is_refused(options: dict[str, bool], message: str) -> None:
    pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed: pip install 'opclock[onnxruntime]'")
    with pytest.raises(InvalidSpecError, match=f"backend 'onnxruntime' {message}"):
        registry.create_backend("onnxruntime", BackendOptions.parse(options))


class _Captured(CpuBackend):
    """Stands for TensorRT's, which are not to be had everywhere."""

    name = "captured"
    reads_onnx = runs_uncaptured = False
    dtypes = ("float32",)

    def target(self) -> TargetSpec:
        raise NotImplementedError

    def build(self, artifact: GraphArtifact) -> Engine:
        raise NotImplementedError


def test_a_backend_that_always_captures_refuses_to_run_uncaptured() -> None:
    _Captured(BackendOptions())
    with pytest.raises(InvalidSpecError, match="'captured' always captures CUDA graphs"):
        _Captured(BackendOptions(cuda_graphs=False))


@pytest.mark.parametrize(
    ("text", "found"), [("2.13.0+cu130", (2, 13, 0)), ("1.24", (1, 24)), ("2026.1.post2", (2026, 1)), ("unknown", ())]
)
def test_versions_are_compared_as_numbers(text: str, found: tuple[int, ...]) -> None:
    assert numbers(text) == found
