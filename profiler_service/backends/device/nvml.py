"""NVML: which GPUs there are, and the clocks, temperature and power of one. Starts no CUDA context, and needs no runtime.

`pynvml` is imported when NVML is asked. A GPU is read between timed windows, never inside one: a reading disturbs it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Self

from profiler_service.backends.device.cuda_driver import driver_library
from profiler_service.backends.errors import NO_DEVICE, NO_DRIVER, NO_DRIVER_HINT, unavailable
from profiler_service.errors import BackendUnavailableError
from profiler_service.measure.throttling import DeviceReading

MIG_EMPTY = "is in MIG mode without an instance"
MIG_EMPTY_HINT = "Make one (nvidia-smi mig -cgi … -C), or turn MIG off (nvidia-smi -mig 0)."

_SLOWING = {
    "hardware_slowdown": "nvmlClocksEventReasonHwSlowdown",
    "hardware_thermal": "nvmlClocksEventReasonHwThermalSlowdown",
    "power_brake": "nvmlClocksEventReasonHwPowerBrakeSlowdown",
    "power_cap": "nvmlClocksEventReasonSwPowerCap",
    "sync_boost": "nvmlClocksEventReasonSyncBoost",
    "thermal": "nvmlClocksEventReasonSwThermalSlowdown",
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
        self._pynvml = pynvml = _library()
        with _translated(pynvml):
            pynvml.nvmlInit()
            try:
                self._handle: Any = pynvml.nvmlDeviceGetHandleByPciBusId(pci_bus_id.encode())
            except pynvml.NVMLError:
                pynvml.nvmlShutdown()
                raise

    def read(self) -> DeviceReading | None:
        """The state now; takes about a millisecond. None for a board that does not report its clock, as some Jetsons.

        Raises:
            BackendUnavailableError: the GPU does not answer any more.
        """
        pynvml, handle = self._pynvml, self._handle
        with _translated(pynvml):
            clock_mhz = reported(pynvml, pynvml.nvmlDeviceGetClockInfo, handle, pynvml.NVML_CLOCK_SM)
            if clock_mhz is None:
                return None
            milliwatts = reported(pynvml, pynvml.nvmlDeviceGetPowerUsage, handle)
            return DeviceReading(
                sm_clock_mhz=clock_mhz,
                memory_clock_mhz=reported(pynvml, pynvml.nvmlDeviceGetClockInfo, handle, pynvml.NVML_CLOCK_MEM),
                temperature_c=reported(pynvml, pynvml.nvmlDeviceGetTemperature, handle, pynvml.NVML_TEMPERATURE_GPU),
                power_w=None if milliwatts is None else milliwatts / 1e3,
                throttling=throttling(_reasons(pynvml, handle) or 0),
                other_processes=other_processes(pynvml, handle),
            )

    def close(self) -> None:
        """Let NVML go. Safe to call twice."""
        if self._handle is not None:
            self._handle = None
            self._pynvml.nvmlShutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def throttling(reasons: int) -> tuple[str, ...]:
    """Those of NVML's reasons (a bit mask) that slow a GPU down, by our names, sorted."""
    pynvml = _library()
    return tuple(name for name, constant in _SLOWING.items() if reasons & getattr(pynvml, constant))


def driver_version() -> str:
    """The NVIDIA driver's version, `580.65.06`. Raises BackendUnavailableError."""
    pynvml = _library()
    with _translated(pynvml):
        pynvml.nvmlInit()
        try:
            version: str = pynvml.nvmlSystemGetDriverVersion()
        finally:
            pynvml.nvmlShutdown()
    return version


def _reasons(pynvml: Any, handle: Any) -> int | None:
    """Why the clock is held down, as a bit mask. Drivers before 535 know the function by its earlier name alone."""
    reasons: int | None = reported(pynvml, pynvml.nvmlDeviceGetCurrentClocksEventReasons, handle)
    if reasons is None:
        reasons = reported(pynvml, pynvml.nvmlDeviceGetCurrentClocksThrottleReasons, handle)
    return reasons


@contextmanager
def _translated(pynvml: Any) -> Iterator[None]:
    try:
        yield
    except pynvml.NVMLError as error:
        raise BackendUnavailableError(f"NVML: {error}", hint="See what nvidia-smi says.") from error


@dataclass(frozen=True)
class GpuState:
    """One GPU.

    Attributes:
        index: as nvidia-smi counts.
        name: of the whole GPU. capability: (9, 0) …
        total_bytes, free_bytes: of its memory; None where not reported.
        exclusive: whether one process at a time may use it; prohibited: whether none may compute on it.
        processes: how many others compute on it; None where not reported.
        mig: whether it is in MIG mode. instances: those that it is divided into, by name.
    """

    index: int
    name: str
    capability: tuple[int, int]
    total_bytes: int | None
    free_bytes: int | None
    exclusive: bool = False
    prohibited: bool = False
    processes: int | None = None
    mig: bool = False
    instances: tuple[str, ...] = ()


@dataclass(frozen=True)
class Survey:
    """What NVML sees. driver: its version, `580.65.06`."""

    driver: str
    gpus: tuple[GpuState, ...]


def survey_gpus() -> Survey:
    """The driver and every GPU.

    Raises:
        BackendUnavailableError: there is no driver, it is not whole, or nvidia-ml-py is not installed; says which.
    """
    try:
        driver_library()
    except OSError as error:
        raise BackendUnavailableError(NO_DRIVER, hint=NO_DRIVER_HINT) from error
    pynvml = _library()
    with _started(pynvml):
        handles = map(pynvml.nvmlDeviceGetHandleByIndex, range(pynvml.nvmlDeviceGetCount()))
        gpus = tuple(_state(pynvml, index, handle) for index, handle in enumerate(handles))
        return Survey(pynvml.nvmlSystemGetDriverVersion(), gpus)


def why_unavailable(error: BaseException) -> BackendUnavailableError:
    """As `unavailable`; where CUDA finds no device, because every GPU is in MIG mode without an instance, that is said."""
    found = unavailable(error)
    if found.message.startswith(NO_DEVICE):
        with suppress(BackendUnavailableError):
            gpus = survey_gpus().gpus
            if gpus and all(gpu.mig and not gpu.instances for gpu in gpus):
                return BackendUnavailableError(f"{gpus[0].name} {MIG_EMPTY}", hint=MIG_EMPTY_HINT)
    return found


def _state(pynvml: Any, index: int, handle: Any) -> GpuState:
    memory = reported(pynvml, pynvml.nvmlDeviceGetMemoryInfo, handle)
    mig = _mig(pynvml, handle)
    mode = reported(pynvml, pynvml.nvmlDeviceGetComputeMode, handle)
    return GpuState(
        index=index,
        name=pynvml.nvmlDeviceGetName(handle),
        capability=tuple(pynvml.nvmlDeviceGetCudaComputeCapability(handle)),
        total_bytes=None if memory is None else int(memory.total),
        free_bytes=None if memory is None else int(memory.free),
        exclusive=mode in {pynvml.NVML_COMPUTEMODE_EXCLUSIVE_THREAD, pynvml.NVML_COMPUTEMODE_EXCLUSIVE_PROCESS},
        prohibited=mode == pynvml.NVML_COMPUTEMODE_PROHIBITED,
        processes=other_processes(pynvml, handle),
        mig=mig,
        instances=tuple(_instances(pynvml, handle)) if mig else (),
    )


def _mig(pynvml: Any, handle: Any) -> bool:
    modes = reported(pynvml, pynvml.nvmlDeviceGetMigMode, handle)  # the present one, and that after the next reset
    return modes is not None and bool(modes[0] == pynvml.NVML_DEVICE_MIG_ENABLE)


def _instances(pynvml: Any, handle: Any) -> Iterator[str]:
    for index in range(pynvml.nvmlDeviceGetMaxMigDeviceCount(handle)):
        with suppress(pynvml.NVMLError_NotFound):
            yield pynvml.nvmlDeviceGetName(pynvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, index))


@contextmanager
def _started(pynvml: Any) -> Iterator[None]:
    try:
        pynvml.nvmlInit()
        try:
            yield
        finally:
            pynvml.nvmlShutdown()
    except pynvml.NVMLError as error:
        raise unavailable(error) from error


def _library() -> Any:
    """`pynvml`. Raises BackendUnavailableError where it is not installed."""
    try:
        import pynvml
    except ModuleNotFoundError as error:
        raise BackendUnavailableError("nvidia-ml-py is not installed", hint="pip install 'opclock[cuda]'") from error
    return pynvml


def reported(pynvml: Any, function: Callable[..., Any], *arguments: Any) -> Any:
    """NVML's answer; None for what a board, such as a Jetson's, does not support, or a driver does not know."""
    with suppress(pynvml.NVMLError_NotSupported, pynvml.NVMLError_FunctionNotFound):
        return function(*arguments)
    return None


def other_processes(pynvml: Any, handle: Any) -> int | None:
    """How many compute on that GPU besides this one, whoever owns them; None where not reported.

    Inside a container, NVML counts in the host's process ids: this process is then one of the others.
    """
    with suppress(pynvml.NVMLError_NoPermission):
        processes = reported(pynvml, pynvml.nvmlDeviceGetComputeRunningProcesses, handle)
        return None if processes is None else sum(process.pid != os.getpid() for process in processes)
    return None
