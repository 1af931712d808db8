"""Backends by name. A backend's module, and with it the vendor's runtime, is imported when one is created."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module

from pydantic import ValidationError

from models.spec.base import invalid_from
from models.spec.errors import InvalidSpecError, UnknownNameError
from profiler_service.backends.backend_options import (
    BackendOptions,
    DeviceKind,
    InductorCudaOptions,
    InductorOptions,
    OnnxRuntimeCudaOptions,
    TensorRtOptions,
    TensorRtRtxOptions,
    TorchCudaOptions,
    variable_of,
)
from profiler_service.backends.base import Backend
from profiler_service.backends.errors import require_version
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
    """Where a backend's class is, the extra that installs what it runs on, its options, and what it runs on.

    TensorRT goes by several names, and looks after its versions itself.
    """

    module: str
    class_name: str
    extra: str
    options_type: type[BackendOptions]
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
        "cpu": _BuiltIn(f"{_HERE}.onnxruntime_cpu", "OnnxRuntimeBackend", "onnxruntime", BackendOptions, _ONNX_RUNTIME),
        "cuda": _BuiltIn(
            f"{_HERE}.onnxruntime_cuda",
            "OnnxRuntimeCudaBackend",
            "onnxruntime-cuda",
            OnnxRuntimeCudaOptions,
            _ONNX_RUNTIME_CUDA,
        ),
    },
    "torch": {
        "cpu": _BuiltIn(f"{_HERE}.torch_cpu", "TorchBackend", "graphs", BackendOptions, _TORCH),
        "cuda": _BuiltIn(f"{_HERE}.torch_cuda", "TorchCudaBackend", "cuda", TorchCudaOptions, _TORCH_CUDA),
    },
    "inductor": {
        "cpu": _BuiltIn(f"{_HERE}.inductor", "InductorBackend", "graphs", InductorOptions, _TORCH),
        "cuda": _BuiltIn(f"{_HERE}.inductor", "InductorCudaBackend", "cuda", InductorCudaOptions, _TORCH_CUDA),
    },
    "tensorrt": {"cuda": _BuiltIn(f"{_HERE}.tensorrt.backend", "TensorRtBackend", "tensorrt", TensorRtOptions)},
    "tensorrt_rtx": {"cuda": _BuiltIn(f"{_HERE}.tensorrt.backend", "TensorRtRtxBackend", "tensorrt-rtx", TensorRtRtxOptions)},
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


def options_for(name: str, chosen: BackendOptions) -> BackendOptions:
    """The chosen options as the record of that backend, on the kind of device that they name.

    Raises:
        UnknownNameError: no backend of that name, or none that runs on the kind of device asked for.
        InvalidSpecError: an option asks for what the backend does not have; says which backends do.
    """
    record = _options_type(name, chosen.device)
    if isinstance(chosen, record) and not set(type(chosen).model_fields) - set(record.model_fields):
        return chosen
    for option in chosen.beyond(record):
        raise _without(name, chosen, option)
    try:
        return record.model_validate({option: value for option, value in chosen if option in record.model_fields})
    except ValidationError as error:
        cause = error.errors()[0].get("ctx", {}).get("error")
        if isinstance(cause, InvalidSpecError):
            raise InvalidSpecError(f"backend {name!r} {cause.message}", hint=cause.hint) from error
        raise invalid_from(error, f"backend {name!r}") from error


def target_settings(name: str, options: BackendOptions) -> dict[str, str]:
    """The environment variables under which that backend measures on the same target again; those at their defaults are left
    out.
    """
    variables = options.variables()
    if options.device == kind_meant(name, None):
        variables.pop(variable_of("device"), None)
    return variables


def create_backend(name: str, options: BackendOptions | None = None) -> Backend:
    """That backend, its runtime loaded.

    Args:
        name: of the backend.
        options: its own record, or another whose values it takes over; by default its defaults.

    Raises:
        UnknownNameError: no backend of that name, or none that runs on the kind of device asked for.
        BackendUnavailableError: the runtime is not installed, or finds no device.
        InvalidSpecError: the backend cannot do what an option asks.
    """
    options = options_for(name, options or BackendOptions())
    cls = _registered[name] if name in _registered else _built_in(name, options.device).load(name)
    return cls(options)


def _built_in(name: str, device: DeviceKind | None) -> _BuiltIn:
    """Raises UnknownNameError."""
    if name not in _BUILT_IN:
        raise UnknownNameError.of("backend", name, backend_names())
    by_device = _BUILT_IN[name]
    kind = kind_meant(name, device)
    if kind not in by_device:
        raise UnknownNameError.of(f"device for backend {name!r}:", str(kind), list(by_device))
    return by_device[kind]


def _options_type(name: str, device: DeviceKind | None) -> type[BackendOptions]:
    """Raises UnknownNameError."""
    return _registered[name].options_type if name in _registered else _built_in(name, device).options_type


def _without(name: str, chosen: BackendOptions, option: str) -> InvalidSpecError:
    """The backend does not have that option."""
    kinds = {kind for kind, entry in _BUILT_IN.get(name, {}).items() if option in entry.options_type.model_fields}
    where = _ON[kind_meant(name, chosen.device) or "cpu"] if kinds else ""
    leave = f"Leave {option} off" if getattr(chosen, option) is True else f"Leave {variable_of(option)} out"
    return InvalidSpecError(
        f"backend {name!r} has no {option}{where}",
        hint=f"{leave}, or choose a backend that has it: {', '.join(_having(option))}.",
    )


_ON: dict[DeviceKind, str] = {"cpu": " on a CPU", "cuda": " on a GPU"}


def _having(option: str) -> list[str]:
    """The backends with that option, sorted; with the kind of device where another kind has none."""
    found = [name for name, cls in _registered.items() if option in cls.options_type.model_fields]
    for name, by_device in _BUILT_IN.items():
        kinds = [kind for kind, entry in by_device.items() if option in entry.options_type.model_fields]
        found += [name] if len(kinds) == len(by_device) else [f"{name}{_ON[kind]}" for kind in kinds]
    return sorted(found)
