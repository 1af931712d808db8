"""NVML's readings, and its absence."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest

from profiler_service.backends.device.nvml import Telemetry, driver_version, throttling
from profiler_service.errors import BackendUnavailableError


class _Nvml:
    """NVML with one GPU, in place of the library's functions."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.open = 0
        self.power: Any = lambda handle: 312_500
        replaced = {
            "nvmlInit": self._start,
            "nvmlShutdown": self._end,
            "nvmlDeviceGetHandleByPciBusId": self._handle,
            "nvmlDeviceGetClockInfo": lambda handle, clock: {pynvml.NVML_CLOCK_SM: 1980, pynvml.NVML_CLOCK_MEM: 3201}[clock],
            "nvmlDeviceGetTemperature": lambda handle, sensor: 51,
            "nvmlDeviceGetPowerUsage": lambda handle: self.power(handle),
            "nvmlDeviceGetCurrentClocksEventReasons": lambda handle: pynvml.nvmlClocksEventReasonSwPowerCap,
            "nvmlDeviceGetComputeRunningProcesses": lambda handle: [SimpleNamespace(pid=pid) for pid in (os.getpid(), 1, 2)],
            "nvmlSystemGetDriverVersion": lambda: "580.65.06",
        }
        for name, function in replaced.items():
            monkeypatch.setattr(pynvml, name, function)

    def _start(self) -> None:
        self.open += 1

    def _end(self) -> None:
        self.open -= 1

    def _handle(self, bus_id: bytes) -> str:
        if bus_id != b"0000:01:00.0":
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)
        return "gpu"


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> _Nvml:
    return _Nvml(monkeypatch)


def test_reads_the_state_of_the_gpu_at_that_address(nvml: _Nvml) -> None:
    with Telemetry("0000:01:00.0") as telemetry:
        reading = telemetry.read()
        assert reading is not None
        assert nvml.open == 1
    telemetry.close()
    assert nvml.open == 0
    assert (reading.sm_clock_mhz, reading.memory_clock_mhz, reading.temperature_c, reading.power_w) == (1980, 3201, 51, 312.5)
    assert reading.throttling == ("power_cap",)
    assert reading.other_processes == 2


def test_what_a_board_does_not_tell_is_none(nvml: _Nvml) -> None:
    def unsupported(_handle: str) -> int:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)

    nvml.power = unsupported
    with Telemetry("0000:01:00.0") as telemetry:
        reading = telemetry.read()
        assert reading is not None
        assert reading.power_w is None


def test_an_older_driver_knows_the_reasons_by_their_earlier_name(nvml: _Nvml, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(_handle: str) -> int:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_FUNCTION_NOT_FOUND)

    monkeypatch.setattr(pynvml, "nvmlDeviceGetCurrentClocksEventReasons", unknown)
    earlier = pynvml.nvmlClocksEventReasonHwThermalSlowdown
    monkeypatch.setattr(pynvml, "nvmlDeviceGetCurrentClocksThrottleReasons", lambda handle: earlier)
    with Telemetry("0000:01:00.0") as telemetry:
        reading = telemetry.read()
    assert reading is not None
    assert reading.throttling == ("hardware_thermal",)


def test_a_board_that_does_not_tell_its_clock_is_not_read(nvml: _Nvml, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(_handle: str, _clock: int) -> int:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)

    monkeypatch.setattr(pynvml, "nvmlDeviceGetClockInfo", unsupported)
    with Telemetry("0000:01:00.0") as telemetry:
        assert telemetry.read() is None


def test_an_unknown_gpu_leaves_nvml_closed(nvml: _Nvml) -> None:
    with pytest.raises(BackendUnavailableError, match="NVML"):
        Telemetry("0000:02:00.0")
    assert nvml.open == 0


def test_tells_the_drivers_version(nvml: _Nvml) -> None:
    assert driver_version() == "580.65.06"
    assert nvml.open == 0


def test_no_nvml_is_a_missing_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent() -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(pynvml, "nvmlInit", absent)
    with pytest.raises(BackendUnavailableError, match="NVML Shared Library Not Found"):
        driver_version()


def test_an_idle_gpu_or_a_chosen_clock_is_no_throttle() -> None:
    harmless = pynvml.nvmlClocksEventReasonGpuIdle | pynvml.nvmlClocksEventReasonApplicationsClocksSetting
    assert throttling(harmless) == ()
    both = harmless | pynvml.nvmlClocksEventReasonSwThermalSlowdown | pynvml.nvmlClocksEventReasonHwSlowdown
    assert throttling(both) == ("hardware_slowdown", "thermal")
