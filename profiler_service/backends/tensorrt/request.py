"""What is asked of TensorRT for one engine: everything that may change its kernels. Needs no TensorRT."""

from __future__ import annotations

from dataclasses import dataclass

from models.spec.operators import Dtype

OPTIMISATION_LEVEL = 3
"""TensorRT's own default, with which people deploy; 4 and 5 build many times longer."""

WORKSPACE_BYTES = 2**30
"""Scratch memory that a kernel may use; as much as the smallest boards can spare."""

TIMING_ITERATIONS = 4
"""Runs that a kernel's time is the mean of while TensorRT chooses. One, its default, chooses differently every time."""

AUXILIARY_STREAMS = 0
"""One stream alone: what runs side by side in one engine would not run so in another, and times would not add up."""


@dataclass(frozen=True)
class EngineRequest:
    """How one graph is to be built. The arithmetic is the graph's own (strongly typed): nothing is converted.

    Attributes:
        dtype: of the graph.
        tf32: whether float32 may be computed in TF32.
        compute_capability: what TensorRT-RTX builds for, `8.6`; None for what it builds for by default: one engine for
            several GPUs, which NVIDIA's support matrix lists (8.6, 8.9 and 12.0 in 1.5). TensorRT builds for the GPU it is on.
        timing_iterations: None where nothing is timed while building.
        replay: build from the timing cache alone, and fail where that has a gap: the same kernels once more.
    """

    dtype: Dtype
    tf32: bool = False
    compute_capability: str | None = None
    optimisation_level: int = OPTIMISATION_LEVEL
    workspace_bytes: int = WORKSPACE_BYTES
    auxiliary_streams: int = AUXILIARY_STREAMS
    timing_iterations: int | None = TIMING_ITERATIONS
    replay: bool = False

    def options(self) -> dict[str, str]:
        """What of it goes into a target; the dtype is each workload's, and TF32 is precision."""
        options = {
            "auxiliary_streams": str(self.auxiliary_streams),
            "builder_optimisation_level": str(self.optimisation_level),
            "network": "strongly typed",
            "workspace_bytes": str(self.workspace_bytes),
        }
        if self.timing_iterations is not None:
            options["timing_iterations"] = str(self.timing_iterations)
        return options
