"""What is said of GPUs, and what a survey of them makes of NVML's answers."""

from __future__ import annotations

import os
import sys
from typing import Any

import pynvml
import pytest

from profiler_service.backends.device import nvml as nvml_module
from profiler_service.backends.device.nvml import survey_gpus
from profiler_service.diagnosis import Finding, Outcome, gpu_findings
from profiler_service.errors import BackendUnavailableError
from tests.support.fake_nvml import FakeGpu, FakeNvml


@pytest.fixture(autouse=True)
def driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvml_module, "driver_library", lambda: None)


def findings(monkeypatch: pytest.MonkeyPatch, *gpus: FakeGpu) -> list[Finding]:
    nvml = FakeNvml(*gpus)
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    found = list(gpu_findings(survey_gpus()))
    assert nvml.started == 0
    return found


@pytest.mark.parametrize(
    ("gpu", "says", "hint"),
    [
        (FakeGpu(), "NVIDIA H200, compute capability 9.0, driver 580.65.06; 139.0 of 140.0 GiB free", ""),
        (FakeGpu(processes=[os.getpid()]), "139.0 of 140.0 GiB free", ""),
        (FakeGpu(processes=[os.getpid(), 1, 2]), "2 other processes compute on it", "End them"),
        (FakeGpu(mode=pynvml.NVML_COMPUTEMODE_EXCLUSIVE_PROCESS), "139.0 of 140.0 GiB free", ""),
        (
            FakeGpu(mode=pynvml.NVML_COMPUTEMODE_EXCLUSIVE_PROCESS, processes=[1]),
            "busy: in exclusive mode",
            "--compute-mode=DEFAULT",
        ),
        (FakeGpu(mode=pynvml.NVML_COMPUTEMODE_PROHIBITED), "compute mode prohibits all use", "--compute-mode=DEFAULT"),
        (FakeGpu(free_gib=0.5), "0.5 of 140.0 GiB free", "End what holds its memory"),
        (FakeGpu("Orin", (8, 7), free_gib=None, mode=None), "memory unknown", ""),
        (FakeGpu("GTX 1080 Ti", (6, 1)), "not supported; 7.0 is the minimum", "OPCLOCK_DEVICE_INDEX"),
        (FakeGpu(instances=[]), "is in MIG mode without an instance", "nvidia-smi mig"),
        (
            FakeGpu(instances=["NVIDIA H200 MIG 1g.18gb", "NVIDIA H200 MIG 2g.35gb"]),
            "partitioned by MIG into NVIDIA H200 MIG 1g.18gb, NVIDIA H200 MIG 2g.35gb",
            "Its table differs",
        ),
    ],
)
def test_each_state_of_a_gpu_is_told(monkeypatch: pytest.MonkeyPatch, gpu: FakeGpu, says: str, hint: str) -> None:
    first, second = findings(monkeypatch, FakeGpu(), gpu)
    assert first.outcome is Outcome.OK
    assert second.name == "gpu 1"
    assert says in second.detail
    assert hint in second.hint
    assert second.outcome is (Outcome.WARNING if hint else Outcome.OK)


def test_a_driver_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    (finding,) = findings(monkeypatch)
    assert finding.outcome is Outcome.WARNING
    assert finding.detail == "driver 580.65.06, but no GPU"


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (pynvml.NVMLError_LibRmVersionMismatch(), "library and kernel module are of different versions"),
        (pynvml.NVMLError_DriverNotLoaded(), "there is no NVIDIA driver"),
        (pynvml.NVMLError_Unknown(), "the NVIDIA driver cannot be started"),
        (pynvml.NVMLError_GpuIsLost(), "the GPU cannot be used"),
    ],
)
def test_nvml_that_does_not_start(monkeypatch: pytest.MonkeyPatch, error: Exception, says: str) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml(error=error))
    with pytest.raises(BackendUnavailableError, match=says) as caught:
        survey_gpus()
    assert caught.value.hint


def test_neither_a_driver_nor_its_bindings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with pytest.raises(BackendUnavailableError, match="nvidia-ml-py is not installed"):
        survey_gpus()

    def absent() -> Any:
        raise OSError("libcuda.so.1: cannot open shared object file")

    monkeypatch.setattr(nvml_module, "driver_library", absent)
    with pytest.raises(BackendUnavailableError, match="there is no NVIDIA driver"):
        survey_gpus()
