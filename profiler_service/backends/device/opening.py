"""A device by the library it is reached through; the library is imported when one is opened."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

from profiler_service.backends.device.base import Device
from profiler_service.backends.device.failures import unavailable
from profiler_service.backends.options import DeviceAccess
from profiler_service.backends.versions import require_version
from profiler_service.errors import BackendUnavailableError


@dataclass(frozen=True)
class _Library:
    """A way to a device.

    Attributes:
        module, class_name: of its implementation.
        package: that brings the library. oldest: its first version with everything that is called.
        command: how to install it.
    """

    module: str
    class_name: str
    package: str
    oldest: tuple[int, ...]
    command: str


_LIBRARIES: dict[DeviceAccess, _Library] = {
    "cuda-core": _Library(
        "profiler_service.backends.device.cuda_core_device",
        "CudaCoreDevice",
        "cuda-core",
        (1, 0),
        "pip install 'cuda-core[cu13]'",
    ),
    "pycuda": _Library(
        "profiler_service.backends.device.pycuda_device", "PyCudaDevice", "pycuda", (2020, 1), "pip install pycuda"
    ),
}


def open_device(access: DeviceAccess, index: int) -> Device:
    """That device, its primary context current on this thread.

    Raises:
        BackendUnavailableError: the library is not installed or too old, there is no driver, or the device cannot be used; says
            which.
    """
    library = _LIBRARIES[access]
    with suppress(PackageNotFoundError):  # then its import says so
        require_version(access, version(library.package), library.oldest, library.command)
    try:
        module = import_module(library.module)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("profiler_service"):
            raise
        raise BackendUnavailableError(f"{access} is not installed: {error}", hint=library.command) from error
    except (ImportError, OSError, RuntimeError) as error:  # its native part cannot be loaded
        raise unavailable(error) from error
    device: Device = getattr(module, library.class_name)(index)
    return device
