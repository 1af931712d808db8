"""What may be chosen about a backend."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StrictInt

from models.spec.base import Record

MAX_THREADS = 1024

DeviceKind = Literal["cpu", "cuda"]
DeviceAccess = Literal["cuda-core", "pycuda"]


class BackendOptions(Record):
    """Choices that every backend understands or refuses; what may change a time also appears in the target.

    Attributes:
        device: kind of device to run on; a backend that cannot run there says so, and never runs elsewhere instead. None
            for what the backend is for: the CPU, unless it has no use for one.
        threads: threads one engine may use on a CPU.
        device_index: which of several equal devices, counted as the runtime counts them; 0 on a CPU.
        tf32: whether float32 convolutions and products may be computed in TF32, on GPUs that have it.
        device_access: the library that a GPU is reached through by runtimes which bring none; the calls it makes are the
            same ones, so that it is no part of a target.
        cuda_graphs: whether runs on a GPU are captured into CUDA graphs; off, their kernels are launched one by one.
        max_autotune: whether a compiler may time many kernels for each graph and take the fastest.
        cudnn_benchmark: whether a build times cuDNN's algorithms and takes the fastest; off, cuDNN's heuristic chooses, and
            chooses the same in every process.
        cache_dir: where a runtime keeps what makes a build faster and repeatable; None to keep it in memory alone.
        replay_builds: build from what is kept there alone, and fail where it has a gap: the same kernels once more. No part of
            a target, since it chooses nothing that was not chosen before.
    """

    device: DeviceKind | None = None
    threads: Annotated[StrictInt, Field(ge=1, le=MAX_THREADS)] = 1
    device_index: Annotated[StrictInt, Field(ge=0)] = 0
    tf32: bool = False
    device_access: DeviceAccess = "cuda-core"
    cuda_graphs: bool = True
    max_autotune: bool = False
    cudnn_benchmark: bool = False
    cache_dir: Path | None = None
    replay_builds: bool = False
