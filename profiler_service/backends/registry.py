"""Backends by name. A backend's module, and with it the vendor's runtime, is imported when one is created."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module

from models.spec.errors import InvalidSpecError, UnknownNameError
from profiler_service.backends.base import Backend
from profiler_service.backends.options import BackendOptions, DeviceKind
from profiler_service.backends.versions import require_version
from profiler_service.errors import BackendUnavailableError


@dataclass(frozen=True)
class _Runtime:
    """What a backend runs on.

    Attributes:
        module: by which it is imported. title: for people.
        oldest: its first version that our calls suit.
    """

    module: str
    title: str
    oldest: tuple[int, ...]


_TORCH = _Runtime("torch", "torch", (2, 6))
_TORCH_CUDA = _Runtime("torch", "torch", (2, 7))
"""Whose replay of a CUDA graph runs nothing beside it, where nothing random was captured; earlier ones ran two kernels more."""

_ONNX_RUNTIME = _Runtime("onnxruntime", "ONNX Runtime", (1, 20))
_ONNX_RUNTIME_CUDA = _Runtime("onnxruntime", "ONNX Runtime", (1, 28))
"""Whose replay of a CUDA graph need not wait for the device."""


@dataclass(frozen=True)
class _BuiltIn:
    """Where a backend's class is, what it runs on, and the extra that installs that.

    TensorRT goes by several names, and looks after its versions itself.
    """

    module: str
    class_name: str
    extra: str
    runtime: _Runtime | None = None

    def load(self, name: str) -> type[Backend]:
        hint = f"pip install 'opclock[{self.extra}]'"
        try:
            if self.runtime is not None:
                found = import_module(self.runtime.module).__version__
                require_version(self.runtime.title, found, self.runtime.oldest, hint)
            module = import_module(self.module)
        except ImportError as error:
            if (error.name or "").startswith(("profiler_service", "models")):
                raise
            raise BackendUnavailableError(f"backend {name!r} cannot be loaded: {error}", hint=hint) from error
        cls: type[Backend] = getattr(module, self.class_name)
        return cls


_HERE = "profiler_service.backends"

_BUILT_IN: dict[str, dict[DeviceKind, _BuiltIn]] = {
    "onnxruntime": {
        "cpu": _BuiltIn(f"{_HERE}.onnxruntime_cpu", "OnnxRuntimeBackend", "onnxruntime", _ONNX_RUNTIME),
        "cuda": _BuiltIn(f"{_HERE}.onnxruntime_cuda", "OnnxRuntimeCudaBackend", "onnxruntime-cuda", _ONNX_RUNTIME_CUDA),
    },
    "torch": {
        "cpu": _BuiltIn(f"{_HERE}.torch_cpu", "TorchBackend", "graphs", _TORCH),
        "cuda": _BuiltIn(f"{_HERE}.torch_cuda", "TorchCudaBackend", "cuda", _TORCH_CUDA),
    },
    "inductor": {
        "cpu": _BuiltIn(f"{_HERE}.inductor_cpu", "InductorBackend", "graphs", _TORCH),
        "cuda": _BuiltIn(f"{_HERE}.inductor_cuda", "InductorCudaBackend", "cuda", _TORCH_CUDA),
    },
    "tensorrt": {"cuda": _BuiltIn(f"{_HERE}.tensorrt.backend", "TensorRtBackend", "tensorrt")},
    "tensorrt_rtx": {"cuda": _BuiltIn(f"{_HERE}.tensorrt.backend", "TensorRtRtxBackend", "tensorrt-rtx")},
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


def kind_meant(name: str, chosen: DeviceKind | None) -> DeviceKind | None:
    """The kind of device that a backend measures on: the chosen one, else the one it is for; None for a registered one."""
    return chosen or next(iter(device_kinds(name)), None)


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
