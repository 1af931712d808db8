"""What about this machine's GPUs helps or hinders measuring."""

from __future__ import annotations

from collections.abc import Iterator

from profiler_service.backends.device.base import OLDEST, capability_text
from profiler_service.backends.device.nvml import MIG_EMPTY, MIG_EMPTY_HINT, GpuState, Survey
from profiler_service.findings import Finding, Outcome

ENOUGH_MEMORY_BYTES = 2**30
"""A context takes some hundred megabytes, and 96 live engines of a small space about as much again."""


def gpu_findings(survey: Survey) -> Iterator[Finding]:
    """One for each GPU: the gravest thing to say about it.

    None is a problem by itself: the GPU that is measured on may be another. What a backend cannot use is the backend's own
    finding.
    """
    if not survey.gpus:
        yield Finding(
            name="gpu",
            outcome=Outcome.WARNING,
            detail=f"driver {survey.driver}, but no GPU",
            hint="See what nvidia-smi lists; in a container, start that with GPU access (docker run --gpus all).",
        )
    for gpu in survey.gpus:
        detail, hint = _gravest(gpu)
        what = f"{gpu.name}, compute capability {capability_text(gpu.capability)}, driver {survey.driver}"
        yield Finding(
            name=f"gpu {gpu.index}",
            outcome=Outcome.WARNING if hint else Outcome.OK,
            detail=f"{what}; {detail}",
            hint=hint,
        )


def _gravest(gpu: GpuState) -> tuple[str, str]:
    """What there is to say, and the next step; none where all is well."""
    memory = "memory not told"
    if gpu.free_bytes is not None and gpu.total_bytes is not None:
        memory = f"{gpu.free_bytes / 2**30:.1f} of {gpu.total_bytes / 2**30:.1f} GiB free"
    busy = gpu.processes or 0
    if gpu.capability < OLDEST:
        return (
            f"not supported, {capability_text(OLDEST)} is the least",
            "Choose another OPCLOCK_DEVICE_INDEX, or a backend on the CPU.",
        )
    if gpu.prohibited:
        return "nobody may compute on it", "Allow it: nvidia-smi --compute-mode=DEFAULT"
    if gpu.mig and not gpu.instances:
        return MIG_EMPTY, MIG_EMPTY_HINT
    if gpu.mig:
        return (
            f"divided by MIG into {', '.join(gpu.instances)}",
            "Choose one by CUDA_VISIBLE_DEVICES and leave the others idle: they share clock and power. Its table is its own, "
            "not the whole GPU's.",
        )
    if gpu.exclusive and busy:
        return (
            "busy: in exclusive mode, and another process has it",
            "End that process, or: nvidia-smi --compute-mode=DEFAULT",
        )
    if gpu.free_bytes is not None and gpu.free_bytes < ENOUGH_MEMORY_BYTES:
        return memory, "End what holds its memory (nvidia-smi lists that), or choose another OPCLOCK_DEVICE_INDEX."
    if busy:
        return f"{memory}; {busy} other processes compute on it", "End them while measuring; they slow the device down."
    return memory, ""
