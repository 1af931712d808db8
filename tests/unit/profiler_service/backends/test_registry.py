"""Backends by name, and runtimes that are not there."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from models.plugins import load_reference
from models.spec.errors import InvalidSpecError, UnknownNameError
from models.spec.targets import TargetSpec
from profiler_service.backends import registry
from profiler_service.backends.backend_options import AllOptions, BackendOptions, DeviceKind
from profiler_service.backends.base import Backend, Engine, GraphArtifact
from profiler_service.backends.cpu import CpuBackend
from profiler_service.backends.description import BackendInfo
from profiler_service.backends.errors import version_numbers
from profiler_service.backends.registry import device_kinds
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
    impostor = type("Impostor", (Backend,), {"name": "onnxruntime", "__module__": __name__})
    with pytest.raises(InvalidSpecError, match=r"'onnxruntime' of tests is refused: opclock 0\.1\.0 has that name"):
        registry.register_backend(impostor)


@pytest.mark.parametrize("field", ["threads", "device_index"])
def test_options_are_bounded(field: str) -> None:
    with pytest.raises(InvalidSpecError, match=field):
        AllOptions.parse({field: -1})


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
    ("options", "message", "hint"),
    [
        ({"max_autotune": True}, "has no max_autotune", "Leave max_autotune off, or choose a backend that has it: inductor."),
        (
            {"cudnn_benchmark": True},
            "has no cudnn_benchmark on a CPU",
            "inductor on a GPU, onnxruntime on a GPU, torch on a",
        ),
        (
            {"replay_builds": True},
            "has no replay_builds",
            "Leave replay_builds off, or choose a backend that has it: te",
        ),
        ({"tf32": True}, "has no tf32 on a CPU", "tensorrt, tensorrt_rtx, torch on a GPU."),
        ({"device_index": 1}, "has no device_index on a CPU", "Leave OPCLOCK_DEVICE_INDEX out, or choose"),
    ],
)
def test_what_a_backend_does_not_have_is_refused(options: dict[str, Any], message: str, hint: str) -> None:
    with pytest.raises(InvalidSpecError, match=f"^backend 'onnxruntime' {message}$") as caught:
        registry.create_backend("onnxruntime", AllOptions.parse(options))
    assert hint in str(caught.value.hint)


def test_what_a_backend_does_without_anyway_is_not_refused() -> None:
    chosen = AllOptions(cuda_graphs=False, device_access="pycuda", threads=2)
    assert registry.options_for("onnxruntime", chosen) == BackendOptions(threads=2)


@pytest.mark.parametrize("name", ["tensorrt", "tensorrt_rtx"])
def test_a_backend_that_always_captures_refuses_to_run_uncaptured(name: str) -> None:
    registry.options_for(name, AllOptions())
    with pytest.raises(InvalidSpecError, match=f"'{name}' always captures CUDA graphs") as caught:
        registry.options_for(name, AllOptions(cuda_graphs=False))
    assert caught.value.hint == "Leave cuda_graphs on."


@pytest.mark.parametrize(("name", "kind"), [(name, kind) for name in registry.backend_names() for kind in device_kinds(name)])
def test_the_registry_and_the_class_name_one_record(name: str, kind: DeviceKind) -> None:
    entry = registry.BACKENDS.get(name).by_device[kind]
    pytest.importorskip("torch", reason="torch is not installed: pip install 'opclock[graphs]'")
    pytest.importorskip("pynvml", reason="NVML is not installed: pip install 'opclock[cuda]'")
    pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed: pip install 'opclock[onnxruntime]'")
    cls = load_reference(entry.reference, name)
    assert cls.options_type is entry.options_type
    assert set(entry.options_type.model_fields) <= set(AllOptions.model_fields), "settings name every option"


class _Steps(BackendOptions):
    steps: int = 1


class _Stepping(CpuBackend):
    """One of somebody else's, with an option of its own."""

    name = "stepping"
    reads_onnx = False
    options_type = _Steps
    dtypes = ("float32",)

    def target(self) -> TargetSpec:
        return TargetSpec(device="none", backend=self.name)

    def build(self, artifact: GraphArtifact) -> Engine:
        raise NotImplementedError


def test_a_registered_backend_has_its_own_options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.BACKENDS._loaded, "stepping", BackendInfo.of(_Stepping))
    assert registry.create_backend("stepping", _Steps(steps=3)).options == _Steps(steps=3)
    assert registry.create_backend("stepping", AllOptions(threads=2)).options == _Steps(threads=2)
    with pytest.raises(InvalidSpecError, match="'stepping' has no tf32"):
        registry.create_backend("stepping", AllOptions(tf32=True))
    with pytest.raises(InvalidSpecError, match="has no steps") as caught:
        registry.create_backend("onnxruntime", _Steps(steps=3))
    assert "stepping" in str(caught.value.hint)
    assert registry.target_settings("stepping", _Steps(steps=3, threads=2)) == {
        "OPCLOCK_THREADS": "2",
        "OPCLOCK_BACKEND_OPTIONS": '{"steps": 3}',
    }


@pytest.mark.parametrize(
    ("text", "found"), [("2.13.0+cu130", (2, 13, 0)), ("1.24", (1, 24)), ("2026.1.post2", (2026, 1)), ("unknown", ())]
)
def test_versions_are_compared_as_numbers(text: str, found: tuple[int, ...]) -> None:
    assert version_numbers(text) == found
