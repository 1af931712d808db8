"""Which GPUs there are and what state they are in, as NVML tells. Starts no CUDA context, and needs no runtime."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from profiler_service.backends.device.cuda_driver import driver_library
from profiler_service.backends.device.failures import NO_DEVICE, NO_DRIVER, NO_DRIVER_HINT, unavailable
from profiler_service.backends.device.nvml import other_processes, told
from profiler_service.errors import BackendUnavailableError

MIG_EMPTY = "is in MIG mode without an instance"
MIG_EMPTY_HINT = "Make one (nvidia-smi mig -cgi … -C), or turn MIG off (nvidia-smi -mig 0)."


@dataclass(frozen=True)
class GpuState:
    """One GPU.

    Attributes:
        index: as nvidia-smi counts.
        name: of the whole GPU. capability: (9, 0) …
        total_bytes, free_bytes: of its memory; None where not told.
        exclusive: whether one process at a time may use it; prohibited: whether none may compute on it.
        processes: how many others compute on it; None where not told.
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
    try:
        import pynvml
    except ModuleNotFoundError as error:
        raise BackendUnavailableError("nvidia-ml-py is not installed", hint="pip install 'opclock[cuda]'") from error
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
    memory = told(pynvml, pynvml.nvmlDeviceGetMemoryInfo, handle)
    mig = _mig(pynvml, handle)
    mode = told(pynvml, pynvml.nvmlDeviceGetComputeMode, handle)
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
    modes = told(pynvml, pynvml.nvmlDeviceGetMigMode, handle)  # the present one, and that after the next reset
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
