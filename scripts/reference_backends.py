"""The reference page of backends, from the registry and the records of their options."""

from __future__ import annotations

from collections.abc import Container, Iterator

from profiler_service.backends.backend_options import AllOptions, DeviceKind, option_of, variable_of
from profiler_service.backends.description import BackendInfo
from profiler_service.backends.registry import BACKENDS, device_kinds
from scripts.column_docs import grid
from scripts.reference_markup import MADE, code, page, prose, shown

SOURCES = "`profiler_service/backends/built_in.py`, `profiler_service/backends/backend_options.py`"

NOTES = (
    "`onnxruntime-gpu` and `onnxruntime` share one folder: uninstall one before you install the other.",
    "The CUDA provider of ONNX Runtime is refused unless it demonstrably runs every node. Capturing needs a release that does "
    "not wait for the device in every replay; this is tried once at the start. cuDNN's version is part of the target, since "
    "its kernels are what is timed.",
    "`inductor` compiles: it needs g++ on a CPU, and gcc on a GPU.",
    "`pytest -m gpu` on a GPU box runs the contract suite on every backend that is installed there. Each skip says what is "
    "missing.",
)


def _choices() -> list[tuple[str, DeviceKind]]:
    return [(name, kind) for name in BACKENDS.own_names() for kind in device_kinds(name)]


def _backends() -> Iterator[tuple[str, ...]]:
    for name, kind in _choices():
        found = _info(name).by_device[kind]
        runtime = found.runtime
        version = f"{runtime.title} {'.'.join(map(str, runtime.oldest))}" if runtime else "as the extra says"
        yield code(name), code(kind), code(found.install), version


def _option_names(name: str, kind: DeviceKind) -> Container[str]:
    return _info(name).by_device[kind].options_type.model_fields


def _info(name: str) -> BackendInfo:
    found: BackendInfo = BACKENDS.get(name)
    return found


def _options() -> Iterator[tuple[str, ...]]:
    for option, field in AllOptions.model_fields.items():
        having = [f"{name} ({kind})" for name, kind in _choices() if option in _option_names(name, kind)]
        if not having:
            continue
        counts = "yes" if option_of(field).in_target else "no"
        who = "all" if len(having) == len(_choices()) else ", ".join(having)
        yield code(variable_of(option)), shown(field.default), who, counts, prose(field.description or "")


def backends_page() -> str:
    """docs/reference/backends.md."""
    return page(
        [
            "# Backends",
            MADE.format(source=f"{SOURCES} or `scripts/reference_backends.py`"),
            "`--backend` (or `OPCLOCK_BACKEND`) names the runtime. `OPCLOCK_DEVICE` names the kind of device where a runtime "
            "has several. A backend never falls back to another device or provider: if what is asked for is not there, it is "
            "an error. `profiler-service doctor` says which backends work here, what stands in the way of the others, and what "
            "state the GPUs are in.",
            grid(("backend", "device", "install", "oldest runtime"), _backends()),
            "Measured with: `onnxruntime`, `torch` and `inductor` on CPUs, `torch` on an H100. What has run on a GPU, and what "
            "has been tested without one only, is under [What was measured](../gpu.md#what-was-measured).",
            "## Options",
            "These settings choose how a backend builds and runs. A backend refuses an option that it does not have. "
            "[Settings](settings.md) has all others.",
            grid(("setting", "default", "backends", "part of the target", "meaning"), _options()),
            *NOTES,
        ]
    )
