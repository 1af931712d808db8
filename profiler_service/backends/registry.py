"""Backends by name. A backend's module, and with it the vendor's runtime, is imported when one is created."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module

from models.spec.errors import InvalidSpecError, UnknownNameError
from profiler_service.backends.base import Backend
from profiler_service.backends.options import BackendOptions, DeviceKind
from profiler_service.errors import BackendUnavailableError


@dataclass(frozen=True)
class _BuiltIn:
    """Where a backend's class is, and the extra that installs its runtime."""

    module: str
    class_name: str
    extra: str

    def load(self, name: str) -> type[Backend]:
        try:
            module = import_module(self.module)
        except ImportError as error:
            if (error.name or "").startswith(("profiler_service", "models")):
                raise
            raise BackendUnavailableError(
                f"backend {name!r} cannot be loaded: {error}", hint=f"pip install 'opclock[{self.extra}]'"
            ) from error
        cls: type[Backend] = getattr(module, self.class_name)
        return cls


_BUILT_IN: dict[str, dict[DeviceKind, _BuiltIn]] = {
    "onnxruntime": {"cpu": _BuiltIn("profiler_service.backends.onnxruntime_cpu", "OnnxRuntimeBackend", extra="onnxruntime")},
    "torch": {
        "cpu": _BuiltIn("profiler_service.backends.torch_cpu", "TorchBackend", extra="graphs"),
        "cuda": _BuiltIn("profiler_service.backends.torch_cuda", "TorchCudaBackend", extra="cuda"),
    },
    "tensorrt": {"cuda": _BuiltIn("profiler_service.backends.tensorrt.backend", "TensorRtBackend", extra="tensorrt")},
    "tensorrt_rtx": {
        "cuda": _BuiltIn("profiler_service.backends.tensorrt.backend", "TensorRtRtxBackend", extra="tensorrt-rtx")
    },
}
"""Backends by name, then by the kind of device they run on; the first kind is the one that is meant unless another is named."""

_registered: dict[str, type[Backend]] = {}


def register_backend(cls: type[Backend]) -> type[Backend]:
    """Make a backend known by its name; usable as a decorator. Another class under a known name is an error."""
    if cls.name in _BUILT_IN or _registered.setdefault(cls.name, cls) is not cls:
        raise InvalidSpecError(f"backend {cls.name!r} is registered already")
    return cls


def backend_names() -> list[str]:
    """All known backends, sorted; whether their runtimes are installed is not asked."""
    return sorted({*_BUILT_IN, *_registered})


def device_kinds(name: str) -> tuple[DeviceKind, ...]:
    """The kinds of device that a built-in backend runs on, the one it is for first; none for a registered one."""
    return tuple(_BUILT_IN.get(name, ()))


def create_backend(name: str, options: BackendOptions | None = None) -> Backend:
    """That backend, its runtime loaded.

    Raises:
        UnknownNameError: no backend of that name, or none that runs on the kind of device asked for.
        BackendUnavailableError: the runtime is not installed, or finds no device.
        InvalidSpecError: the backend cannot do what an option asks.
    """
    options = options or BackendOptions()
    if name in _registered:
        cls = _registered[name]
    elif name in _BUILT_IN:
        by_device = _BUILT_IN[name]
        kind = next(iter(by_device)) if options.device is None else options.device
        if kind not in by_device:
            raise UnknownNameError.of(f"device for backend {name!r}:", kind, list(by_device))
        cls = by_device[kind].load(name)
    else:
        raise UnknownNameError.of("backend", name, backend_names())
    return cls(options)
