"""What CUDA's errors mean to people. The libraries raise them under several names; the driver's own code is in the text."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from profiler_service.backends.allocation import out_of_memory
from profiler_service.errors import BackendError, BackendUnavailableError, DeviceMemoryError, RunError

_MEANINGS = {
    "NO_DEVICE": ("there is no NVIDIA GPU that this process may use", "See what nvidia-smi lists, and CUDA_VISIBLE_DEVICES."),
    "INVALID_DEVICE": ("there is no GPU of that index", "See what nvidia-smi lists, and CUDA_VISIBLE_DEVICES."),
    "INSUFFICIENT_DRIVER": ("the NVIDIA driver is too old for this runtime", "Install a newer driver, or an older runtime."),
    "SYSTEM_DRIVER_MISMATCH": (
        "the NVIDIA driver's library and kernel module are of different versions",
        "Restart the machine or the container after the driver was updated.",
    ),
    "SYSTEM_NOT_READY": ("the NVIDIA driver is not ready", "Start nvidia-fabricmanager, or wait until it has."),
    "DEVICES_UNAVAILABLE": (
        "the GPU is busy: it is in exclusive mode and another process has it",
        "End that process, or: nvidia-smi --compute-mode=DEFAULT",
    ),
    "NO_BINARY_FOR_GPU": ("this GPU is not supported by the runtime", "Choose another backend."),
    "UNSUPPORTED_PTX_VERSION": ("the NVIDIA driver is too old for this runtime", "Install a newer driver."),
    "ECC_UNCORRECTABLE": ("the GPU's memory has uncorrectable errors", "Restart the machine; replace the GPU if it stays."),
    "NOT_INITIALIZED": ("the NVIDIA driver cannot be started", "See what nvidia-smi says."),
    "UNKNOWN": ("the NVIDIA driver cannot be started", "See what nvidia-smi says; restart the machine or the container."),
}
"""By the driver's code without `CUDA_ERROR_`: what it means, and the next step."""

_NO_DRIVER = ("libcuda", "nvidia driver library", "nvcuda")


def unavailable(error: BaseException) -> BackendUnavailableError:
    """Why a device cannot be used at all, in one sentence with the next step."""
    text = f"{error}"
    for code, (meaning, hint) in _MEANINGS.items():
        if f"CUDA_ERROR_{code}" in text:
            return BackendUnavailableError(f"{meaning} (CUDA_ERROR_{code})", hint=hint)
    if any(name in text.lower() for name in _NO_DRIVER):
        return BackendUnavailableError(
            "there is no NVIDIA driver", hint="Install it; in a container, start that with GPU access (docker run --gpus all)."
        )
    return BackendUnavailableError(f"the GPU cannot be used: {_one_line(text)}", hint="See what nvidia-smi says.")


@contextmanager
def translated(doing: str, kind: type[BackendError] = RunError) -> Iterator[None]:
    """Whatever CUDA's libraries raise inside becomes DeviceMemoryError or `kind`; errors of our own pass."""
    try:
        yield
    except BackendError:
        raise
    except Exception as error:  # the libraries' exceptions have no root of their own
        what = DeviceMemoryError if out_of_memory(error) else kind
        raise what(f"{doing}: {_one_line(str(error))}") from error


def _one_line(text: str) -> str:
    return " ".join(text.split())
