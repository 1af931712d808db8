"""A GPU that cannot be measured on: one clear sentence and the next step, from `profile` and from `doctor`.

ONNX Runtime's CUDA provider on a fake device stands for every backend that reaches a GPU through `Device`; torch has its own.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pynvml
import pytest

pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed: pip install 'opclock[onnxruntime]'")

from profiler_service.backends import onnxruntime_cuda
from profiler_service.backends.device import base as device_base
from profiler_service.backends.device import cuda_driver, nvml
from profiler_service.backends.registry import create_backend
from profiler_service.cli import machine_checks
from profiler_service.diagnosis import Finding
from profiler_service.jobs.workers import Workers
from profiler_service.settings import Settings
from profiler_service.worker.protocol import BackendDescription
from tests.support.ended import Command
from tests.support.fake_device import FakeDevice
from tests.support.fake_nvml import FakeGpu, FakeNvml
from tests.support.fake_onnxruntime import FakeOnnxRuntime
from tests.support.fake_pycuda import FakePyCuda, install

PROFILE = ("profile", "--space", "fasterseg", "--input-size", "128x256")
NAME = "backend onnxruntime on cuda"


def _no_library() -> Any:
    raise OSError("libcuda.so.1: cannot open shared object file: No such file or directory")


@dataclass(frozen=True)
class Box:
    """A machine: what pycuda and NVML say, which version of pycuda there is, and what its user is told.

    Attributes:
        says: in the message. hint: in the next step.
    """

    says: str
    hint: str
    pycuda: dict[str, Any] = field(default_factory=dict)
    gpu: FakeGpu = field(default_factory=FakeGpu)
    driver: bool = True
    version: str = "2026.1"
    runtime: str = "1.31.1"


BOXES = {
    "no driver": Box("there is no NVIDIA driver", "--gpus all", driver=False),
    "wrong driver": Box(
        "the NVIDIA driver's library and kernel module are of different versions",
        "Restart the machine",
        {"error": "cuInit failed: system has unsupported display driver / cuda driver combination"},
    ),
    "old driver": Box(
        "the NVIDIA driver is too old for this runtime",
        "Install a newer driver",
        {"error": "cuInit failed: CUDA driver version is insufficient for CUDA runtime version"},
    ),
    "out of memory": Box(
        "the GPU has no memory left to start on",
        "End what holds it",
        {"context_error": "cuDevicePrimaryCtxRetain failed: out of memory"},
        FakeGpu(free_gib=0.1),
    ),
    "unsupported GPU": Box(
        "GTX 1080 Ti is not supported: its compute capability is 6.1, and 7.0 is the least",
        "OPCLOCK_DEVICE_INDEX",
        {"name": "GTX 1080 Ti", "capability": (6, 1)},
        FakeGpu("GTX 1080 Ti", (6, 1)),
    ),
    "old library": Box("pycuda 2019.1 is not supported: 2020.1 is the oldest that is", "pip install pycuda", version="2019.1"),
    "old runtime": Box(
        "ONNX Runtime 1.19.2 is not supported: 1.28 is the oldest that is", "opclock[onnxruntime-cuda]", runtime="1.19.2"
    ),
    "busy": Box(
        "the GPU is busy: it is in exclusive mode and another process has it",
        "--compute-mode=DEFAULT",
        {"context_error": "cuDevicePrimaryCtxRetain failed: CUDA-capable device(s) is/are busy or unavailable"},
        FakeGpu(mode=pynvml.NVML_COMPUTEMODE_EXCLUSIVE_PROCESS, processes=[1]),
    ),
    "MIG without an instance": Box(
        "NVIDIA H200 is in MIG mode without an instance",
        "nvidia-smi mig -cgi",
        {"error": "cuInit failed: no CUDA-capable device is detected"},
        FakeGpu(instances=[]),
    ),
    "no device": Box(
        "there is no NVIDIA GPU that this process may use",
        "CUDA_VISIBLE_DEVICES",
        {"error": "cuInit failed: no CUDA-capable device is detected"},
    ),
}
ON_GPUS = {
    "out of memory": "0.1 of 140.0 GiB free",
    "unsupported GPU": "not supported; 7.0 is the minimum",
    "busy": "busy: in exclusive mode, and another process uses it",
    "MIG without an instance": "is in MIG mode without an instance",
}
"""What `doctor` says of the GPU itself, where it sees what is wrong."""


def _describe(settings: Settings) -> BackendDescription:
    """As a worker does, in this process, where the fakes are."""
    backend = create_backend(settings.backend, settings.chosen_options())
    try:
        return BackendDescription(backend.target(), backend.dtypes, backend.reads_onnx, backend.builds_on_device)
    finally:
        backend.close()


@pytest.fixture
def put_on(monkeypatch: pytest.MonkeyPatch) -> Callable[[Box], None]:
    """Makes this machine that box, and asks for a GPU."""

    def put(box: Box) -> None:
        fake = FakeOnnxRuntime(FakeDevice())
        fake.__version__ = box.runtime
        monkeypatch.setattr(onnxruntime_cuda, "onnxruntime", fake)
        monkeypatch.setattr(sys.modules["onnxruntime"], "__version__", box.runtime)
        install(monkeypatch, FakePyCuda(**box.pycuda))
        monkeypatch.setattr(device_base, "version", lambda package: box.version)
        monkeypatch.setitem(sys.modules, "pynvml", FakeNvml(box.gpu))
        if not box.driver:
            monkeypatch.setattr(cuda_driver, "driver_library", _no_library)
        monkeypatch.setattr(nvml, "driver_library", (lambda: None) if box.driver else _no_library)
        monkeypatch.setattr(machine_checks, "describe_backend", _describe)
        monkeypatch.setattr(Workers, "description", property(lambda self: _describe(Settings.load(backend="onnxruntime"))))
        monkeypatch.setenv("OPCLOCK_DEVICE", "cuda")
        monkeypatch.setenv("OPCLOCK_DEVICE_ACCESS", "pycuda")

    return put


@pytest.mark.parametrize("box", BOXES.values(), ids=BOXES.keys())
def test_profile_says_why_it_cannot_measure_and_what_to_do(box: Box, put_on: Callable[[Box], None], command: Command) -> None:
    put_on(box)
    ended = command(*PROFILE, "--json")
    assert ended.code == 3
    error = ended.document["error"]
    assert error["code"] == "backend_unavailable"
    assert box.says in error["message"]
    assert "\n" not in error["message"]
    assert box.hint in error["hint"]


@pytest.mark.parametrize("name", BOXES)
def test_doctor_says_the_same(name: str, put_on: Callable[[Box], None], command: Command, monkeypatch: Any) -> None:
    box = BOXES[name]
    put_on(box)
    monkeypatch.setattr("profiler_service.diagnosis.backend_names", lambda: ["onnxruntime"])
    ended = command("doctor", "--json")
    assert ended.code == 3
    assert not ended.document["ready"]
    findings = {found["name"]: Finding.model_validate(found) for found in ended.document["findings"]}
    assert findings[NAME].outcome == "problem"
    assert box.says in findings[NAME].detail
    assert box.hint in findings[NAME].hint
    if name in ON_GPUS:
        assert ON_GPUS[name] in findings["gpu 0"].detail
        assert findings["gpu 0"].hint


def test_doctor_shows_it_to_people_too(put_on: Callable[[Box], None], command: Command, monkeypatch: Any) -> None:
    put_on(BOXES["busy"])
    monkeypatch.setattr("profiler_service.diagnosis.backend_names", lambda: ["onnxruntime"])
    ended = command("doctor")
    assert ended.code == 3
    assert f"problem {NAME}: the GPU is busy: it is in exclusive mode and another process has it" in ended.out
    assert "End that process, or: nvidia-smi --compute-mode=DEFAULT" in ended.out
