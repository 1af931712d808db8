"""A device by the library it is reached through; the library is imported when one is opened."""

from __future__ import annotations

from importlib import import_module

from profiler_service.backends.device.base import Device
from profiler_service.backends.device.failures import unavailable
from profiler_service.backends.options import DeviceAccess
from profiler_service.errors import BackendUnavailableError

_IMPLEMENTATIONS: dict[DeviceAccess, tuple[str, str, str]] = {
    "cuda-core": ("profiler_service.backends.device.cuda_core_device", "CudaCoreDevice", "pip install 'cuda-core[cu13]'"),
    "pycuda": ("profiler_service.backends.device.pycuda_device", "PyCudaDevice", "pip install pycuda"),
}
"""Module, class, and how to install the library."""


def open_device(access: DeviceAccess, index: int) -> Device:
    """That device, its primary context current on this thread.

    Raises:
        BackendUnavailableError: the library is not installed, there is no driver, or the device cannot be used; says which.
    """
    module_name, class_name, command = _IMPLEMENTATIONS[access]
    try:
        module = import_module(module_name)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("profiler_service"):
            raise
        raise BackendUnavailableError(f"{access} is not installed: {error}", hint=command) from error
    except (ImportError, OSError, RuntimeError) as error:  # its native part cannot be loaded
        raise unavailable(error) from error
    device: Device = getattr(module, class_name)(index)
    return device
