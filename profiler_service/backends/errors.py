"""What goes wrong in runtimes and on devices, as errors of our own with one sentence and the next step.

Native runtimes say only in their messages that memory ran out. Libraries raise CUDA's errors under several names: some give
the driver's code, others its text, torch a text of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from profiler_service.errors import BackendError, BackendUnavailableError, DeviceMemoryError, RunError

NO_DRIVER = "there is no NVIDIA driver"
NO_DRIVER_HINT = "Install it; in a container, start that with GPU access (docker run --gpus all)."
NO_DEVICE = "there is no NVIDIA GPU that this process may use"

MOST_CHARACTERS = 400
"""Compilers repeat whole command lines and sources in their errors."""

_OUT_OF_MEMORY = (
    "bad allocation",
    "bad_alloc",
    "failed to allocate",
    "can't allocate memory",
    "not enough memory",
    "out of memory",
    "out_of_memory",
    "outofmemory",
)


def one_line(text: str) -> str:
    """The text without line breaks, its end left out where it is long."""
    line = " ".join(text.split())
    return line if len(line) <= MOST_CHARACTERS else f"{line[: MOST_CHARACTERS - 1]}…"


def out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, as far as the runtimes, CUDA or Python say so."""
    return isinstance(error, MemoryError) or any(phrase in str(error).lower() for phrase in _OUT_OF_MEMORY)


def require_version(title: str, found: str, oldest: tuple[int, ...], hint: str) -> None:
    """Raises BackendUnavailableError for a runtime that is older than its oldest supported version."""
    if version_numbers(found) < oldest:
        least = ".".join(map(str, oldest))
        raise BackendUnavailableError(f"{title} {found} is not supported: {least} is the oldest that is", hint=hint)


def version_numbers(version: str) -> tuple[int, ...]:
    """The leading numbers of a version: (2, 13, 0) of `2.13.0+cu130`."""
    leading = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(map(int, leading.group().split("."))) if leading else ()


@dataclass(frozen=True)
class _Meaning:
    """What one failure means.

    Attributes:
        codes: the driver's, without `CUDA_ERROR_`.
        phrases: in lower case, any of which means it too.
        message: one sentence. hint: the next step.
    """

    codes: tuple[str, ...]
    phrases: tuple[str, ...]
    message: str
    hint: str


_MEANINGS = (
    _Meaning(
        ("NO_DEVICE",),
        ("no cuda-capable device", "no cuda gpus are available"),
        NO_DEVICE,
        "See what nvidia-smi lists, and CUDA_VISIBLE_DEVICES; a GPU in MIG mode needs an instance (nvidia-smi mig -cgi … -C).",
    ),
    _Meaning(
        ("INVALID_DEVICE",),
        ("invalid device ordinal", "device_id must be within"),
        "there is no GPU of that index",
        "Choose another OPCLOCK_DEVICE_INDEX; see what nvidia-smi lists, and CUDA_VISIBLE_DEVICES.",
    ),
    _Meaning(
        ("SYSTEM_DRIVER_MISMATCH",),
        ("unsupported display driver", "driver/library version mismatch", "nvml/rm version mismatch"),
        "the NVIDIA driver's library and kernel module are of different versions",
        "Restart the machine or the container after the driver was updated.",
    ),
    _Meaning(
        ("INSUFFICIENT_DRIVER", "UNSUPPORTED_PTX_VERSION", "COMPAT_NOT_SUPPORTED_ON_DEVICE"),
        (
            "driver version is insufficient",
            "driver on your system is too old",
            "compiled with an unsupported toolchain",
            "forward compatibility was attempted",
        ),
        "the NVIDIA driver is too old for this runtime",
        "Install a newer driver, or an older runtime.",
    ),
    _Meaning(
        ("SYSTEM_NOT_READY",),
        ("system not yet initialized",),
        "the NVIDIA driver is not ready",
        "Start nvidia-fabricmanager, or wait until it has.",
    ),
    _Meaning(
        ("DEVICES_UNAVAILABLE",),
        ("busy or unavailable",),
        "the GPU is busy: it is in exclusive mode and another process has it",
        "End that process, or: nvidia-smi --compute-mode=DEFAULT",
    ),
    _Meaning(
        ("MPS_CONNECTION_FAILED", "MPS_SERVER_NOT_READY"),
        ("mps control daemon", "mps server is not ready"),
        "the GPU is shared through MPS, whose server does not answer",
        "End MPS before measuring: echo quit | nvidia-cuda-mps-control",
    ),
    _Meaning(
        ("NO_BINARY_FOR_GPU", "INVALID_PTX"),
        ("no kernel image is available",),
        "this GPU is not supported by the runtime",
        "Choose another backend, or a version of the runtime that was built for this GPU.",
    ),
    _Meaning(
        ("OUT_OF_MEMORY",),
        ("out of memory",),
        "the GPU has no memory left to start on",
        "End what holds it (nvidia-smi lists that), or choose another OPCLOCK_DEVICE_INDEX.",
    ),
    _Meaning(
        ("ECC_UNCORRECTABLE",),
        ("uncorrectable ecc error",),
        "the GPU's memory has uncorrectable errors",
        "Restart the machine; replace the GPU if it stays.",
    ),
    _Meaning(
        (),
        ("not compiled with cuda",),
        "this torch was built without CUDA",
        "Install a build of torch for CUDA, as https://pytorch.org/get-started says.",
    ),
    _Meaning(
        ("STUB_LIBRARY",),
        ("libcuda", "nvidia driver library", "nvcuda", "stub library", "found no nvidia driver", "driver not loaded"),
        NO_DRIVER,
        NO_DRIVER_HINT,
    ),
    _Meaning(
        ("NOT_INITIALIZED", "UNKNOWN"),
        ("unknown error",),
        "the NVIDIA driver cannot be started",
        "See what nvidia-smi says; restart the machine or the container.",
    ),
)


def unavailable(
    error: BaseException, otherwise: str = "the GPU cannot be used", *, hint: str = "See what nvidia-smi says."
) -> BackendUnavailableError:
    """Why a device cannot be used at all, in one sentence with the next step; the driver's code where it was reported.

    Args:
        error: what a library raised.
        otherwise: how the sentence begins where that means nothing known.
        hint: the next step then.
    """
    text = f"{error}"
    for meaning in _MEANINGS:
        code = next((f"CUDA_ERROR_{code}" for code in meaning.codes if f"CUDA_ERROR_{code}" in text), None)
        if code is not None:
            return BackendUnavailableError(f"{meaning.message} ({code})", hint=meaning.hint)
    for meaning in _MEANINGS:
        if any(phrase in text.lower() for phrase in meaning.phrases):
            return BackendUnavailableError(meaning.message, hint=meaning.hint)
    return BackendUnavailableError(f"{otherwise}: {one_line(text)}", hint=hint)


@contextmanager
def translated(doing: str, kind: type[BackendError] = RunError) -> Iterator[None]:
    """Whatever CUDA's libraries raise inside becomes DeviceMemoryError or `kind`; errors of our own pass."""
    try:
        yield
    except BackendError:
        raise
    except Exception as error:  # the libraries' exceptions have no root of their own
        what = DeviceMemoryError if out_of_memory(error) else kind
        raise what(f"{doing}: {one_line(str(error))}") from error
