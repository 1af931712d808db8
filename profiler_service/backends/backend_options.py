"""What may be chosen about a backend: each option is one field here, and each backend has the record of the options it knows.

`Settings` inherits every field, so that its environment variable, default and description are the field's own. A new option is
one more field, in a record that its backends' records and `AllOptions` derive from (docs/extend.md). Needs no runtime: the
registry and the settings import it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, field_validator
from pydantic.fields import FieldInfo

from models.spec.base import Record
from models.spec.errors import InvalidSpecError

ENVIRONMENT_PREFIX = "OPCLOCK_"

DeviceKind = Literal["cpu", "cuda"]
DeviceAccess = Literal["cuda-core", "pycuda"]


@dataclass(frozen=True)
class Option:
    """What holds for an option besides its type; an annotation of its field.

    Attributes:
        in_target: whether tables measured under different values are different tables.
        ignorable: whether a backend without it ignores it; otherwise such a backend refuses what it asks for.
    """

    in_target: bool = True
    ignorable: bool = False


class BackendOptions(Record):
    """The options of every backend; the whole record of one that has no others, as on a CPU.

    >>> InductorOptions(device="cpu", max_autotune=True, cache_dir=Path("cache")).variables()
    {'OPCLOCK_DEVICE': 'cpu', 'OPCLOCK_MAX_AUTOTUNE': 'true'}
    """

    model_config = ConfigDict(use_attribute_docstrings=True)

    device: DeviceKind | None = None
    """Kind of device to measure on, `cpu` or `cuda`. By default what the backend is for."""

    threads: Annotated[int, Field(ge=1, le=256)] = 1
    """CPU threads of one engine. One, since more are less repeatable on a shared machine; part of the target."""

    cache_dir: Annotated[Path | None, Option(in_target=False)] = None
    """Directory of graph files, and of what a runtime learns to build faster, all of which can be made again. By default
    beside the database, where there is room and the rights to write are known to be there."""

    @property
    def queues_kernels(self) -> bool:
        """Whether the kernels of a run wait in a device's queue one by one, of which a driver holds a limited number."""
        return False

    def variables(self) -> dict[str, str]:
        """The environment variables of the options that are part of the target, where they differ from their defaults.

        Those that only a plugin's backend has are in OPCLOCK_BACKEND_OPTIONS together.
        """
        chosen = self.model_dump(mode="json", exclude_defaults=True)
        chosen = {name: value for name, value in chosen.items() if option_of(type(self).model_fields[name]).in_target}
        own = {name: chosen.pop(name) for name in list(chosen) if name not in AllOptions.model_fields}
        variables = {
            variable_of(name): value if isinstance(value, str) else json.dumps(value) for name, value in chosen.items()
        }
        return variables | ({variable_of("backend_options"): json.dumps(own)} if own else {})

    def beyond(self, record: type[BackendOptions]) -> list[str]:
        """The options chosen here that a backend with that record must refuse, since it does not have them.

        A default asks for nothing, nor does a switch that is off: what a backend does not have, it does without.
        """
        return [
            name
            for name, field in type(self).model_fields.items()
            if name not in record.model_fields
            and not option_of(field).ignorable
            and (value := getattr(self, name)) != field.default
            and value is not False
        ]


class GpuOptions(BackendOptions):
    """Of every backend on an NVIDIA GPU."""

    device_index: Annotated[int, Field(ge=0, le=1_023), Option(in_target=False)] = 0
    """Which of several GPUs, counted as CUDA counts them."""

    tf32: bool = False
    """Whether float32 may be computed in TF32 on a GPU that has it. Off, since float32 then means what it says; part of the
    target."""


class DeviceOptions(GpuOptions):
    """Of backends on a GPU whose runtime brings no access to its memory and clocks."""

    device_access: Annotated[DeviceAccess, Option(in_target=False, ignorable=True)] = "cuda-core"
    """Library through which TensorRT and ONNX Runtime reach the GPU. `pycuda` for boxes that bring that along, as JetPack
    does. The calls it makes are the same."""


class CaptureOptions(BackendOptions):
    """Of backends that capture their runs into CUDA graphs."""

    cuda_graphs: bool = True
    """Whether `torch`, `inductor` and `onnxruntime` capture their runs on a GPU into CUDA graphs. On, since deployed engines
    run so; off, their kernels are launched one by one; part of the target."""

    @property
    def queues_kernels(self) -> bool:
        """See `BackendOptions.queues_kernels`; a captured graph is one launch."""
        return not self.cuda_graphs


class CudnnOptions(BackendOptions):
    """Of backends whose convolutions may be cuDNN's."""

    cudnn_benchmark: bool = False
    """Whether `torch`, `inductor` and `onnxruntime` time cuDNN's algorithms on a GPU when they build an engine, and take the
    fastest. Off, cuDNN's heuristic chooses, and chooses the same in every process (docs/gpu.md); part of the target."""


class AutotuneOptions(BackendOptions):
    """Of compilers that can choose kernels by their times."""

    max_autotune: bool = False
    """Whether `inductor` times many kernels for each graph and takes the fastest. Off, since it builds many times longer and
    differs from build to build; part of the target."""


class ReplayOptions(BackendOptions):
    """Of backends that record which kernels their builds chose."""

    replay_builds: Annotated[bool, Option(in_target=False)] = False
    """Whether TensorRT builds from its timing cache alone and fails where that has a gap, so that a table is rebuilt with the
    very kernels that it was measured with. Off, since the first build of every graph has to time kernels."""


class InductorOptions(AutotuneOptions):
    """Of `inductor` on a CPU."""


class TorchCudaOptions(GpuOptions, CaptureOptions, CudnnOptions):
    """Of `torch` on a GPU."""


class InductorCudaOptions(TorchCudaOptions, AutotuneOptions):
    """Of `inductor` on a GPU."""


class OnnxRuntimeCudaOptions(DeviceOptions, CaptureOptions, CudnnOptions):
    """Of `onnxruntime` on a GPU."""


class TensorRtRtxOptions(DeviceOptions, CaptureOptions):
    """Of `tensorrt_rtx`."""

    @field_validator("cuda_graphs")
    @classmethod
    def _captured(cls, cuda_graphs: bool) -> bool:
        if not cuda_graphs:
            raise InvalidSpecError("always captures CUDA graphs", hint="Leave cuda_graphs on.")
        return cuda_graphs


class TensorRtOptions(TensorRtRtxOptions, ReplayOptions):
    """Of `tensorrt`."""


class AllOptions(ReplayOptions, AutotuneOptions, CudnnOptions, CaptureOptions, DeviceOptions):
    """Every option of every backend, as settings have them before a backend is chosen."""

    backend_options: Annotated[str, Option(in_target=False, ignorable=True)] = ""
    """Options that only a plugin's backend has, as a JSON object: `{"x": 1}`. The backend says which of them are part of the
    target."""


def option_of(field: FieldInfo) -> Option:
    """What holds for the option of that field."""
    return next((item for item in field.metadata if isinstance(item, Option)), Option())


def variable_of(option: str) -> str:
    """The environment variable of an option: `OPCLOCK_TF32`."""
    return f"{ENVIRONMENT_PREFIX}{option.upper()}"
