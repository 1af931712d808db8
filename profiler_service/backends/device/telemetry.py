"""What NVML tells of a GPU's state. To be read between timed windows, never inside one: a reading disturbs the device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

import pynvml

from profiler_service.backends.device.nvml import other_processes, told
from profiler_service.errors import BackendUnavailableError
from profiler_service.measure.throttling import DeviceReading

_SLOWING = {
    "hardware_slowdown": pynvml.nvmlClocksEventReasonHwSlowdown,
    "hardware_thermal": pynvml.nvmlClocksEventReasonHwThermalSlowdown,
    "power_brake": pynvml.nvmlClocksEventReasonHwPowerBrakeSlowdown,
    "power_cap": pynvml.nvmlClocksEventReasonSwPowerCap,
    "sync_boost": pynvml.nvmlClocksEventReasonSyncBoost,
    "thermal": pynvml.nvmlClocksEventReasonSwThermalSlowdown,
}
"""NVML's reasons for a clock below what was asked for. An idle GPU, or one whose clock somebody set, is not throttled."""


class Telemetry:
    """NVML's view of one GPU; holds NVML open until closed.

    Args:
        pci_bus_id: as `DeviceInfo` has it. The GPU behind a MIG instance is read as a whole.

    Raises:
        BackendUnavailableError: NVML is not there (Jetson boards before JetPack 6), or does not know the GPU.
    """

    def __init__(self, pci_bus_id: str) -> None:
        with _translated():
            pynvml.nvmlInit()
            try:
                self._handle: Any = pynvml.nvmlDeviceGetHandleByPciBusId(pci_bus_id.encode())
            except pynvml.NVMLError:
                pynvml.nvmlShutdown()
                raise

    def read(self) -> DeviceReading | None:
        """The state now; takes about a millisecond. None for a board that does not tell its clock, as some Jetsons.

        Raises:
            BackendUnavailableError: the GPU does not answer any more.
        """
        handle = self._handle
        with _translated():
            clock_mhz = told(pynvml, pynvml.nvmlDeviceGetClockInfo, handle, pynvml.NVML_CLOCK_SM)
            if clock_mhz is None:
                return None
            milliwatts = told(pynvml, pynvml.nvmlDeviceGetPowerUsage, handle)
            return DeviceReading(
                sm_clock_mhz=clock_mhz,
                memory_clock_mhz=told(pynvml, pynvml.nvmlDeviceGetClockInfo, handle, pynvml.NVML_CLOCK_MEM),
                temperature_c=told(pynvml, pynvml.nvmlDeviceGetTemperature, handle, pynvml.NVML_TEMPERATURE_GPU),
                power_w=None if milliwatts is None else milliwatts / 1e3,
                throttling=throttling(_reasons(handle) or 0),
                other_processes=other_processes(pynvml, handle),
            )

    def close(self) -> None:
        """Let NVML go. Safe to call twice."""
        if self._handle is not None:
            self._handle = None
            pynvml.nvmlShutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def throttling(reasons: int) -> tuple[str, ...]:
    """Those of NVML's reasons (a bit mask) that slow a GPU down, by our names, sorted."""
    return tuple(name for name, bit in _SLOWING.items() if reasons & bit)


def driver_version() -> str:
    """The NVIDIA driver's version, `580.65.06`. Raises BackendUnavailableError."""
    with _translated():
        pynvml.nvmlInit()
        try:
            version: str = pynvml.nvmlSystemGetDriverVersion()
        finally:
            pynvml.nvmlShutdown()
    return version


def _reasons(handle: Any) -> int | None:
    """Why the clock is held down, as a bit mask. Drivers before 535 know the function by its earlier name alone."""
    reasons: int | None = told(pynvml, pynvml.nvmlDeviceGetCurrentClocksEventReasons, handle)
    if reasons is None:
        reasons = told(pynvml, pynvml.nvmlDeviceGetCurrentClocksThrottleReasons, handle)
    return reasons


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except pynvml.NVMLError as error:
        raise BackendUnavailableError(f"NVML: {error}", hint="See what nvidia-smi says.") from error
