"""What backends on this machine's own processor have in common: the host's clock, and how they describe the target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import perf_counter_ns
from typing import ClassVar

import numpy as np

from models.spec.targets import TargetSpec
from profiler_service.backends import processor
from profiler_service.backends.base import Backend, Engine, FloatArray, Flusher, bytes_to_flush
from profiler_service.errors import DeviceMemoryError


class CpuFlusher(Flusher[FloatArray]):
    """Reads and writes that many bytes, more than every cache holds.

    Read as well as written, since stores alone may go past the caches. Other cores' work is flushed where they share the cache.
    """

    def __init__(self, nbytes: int) -> None:
        try:
            super().__init__(np.zeros(nbytes // np.dtype(np.float32).itemsize, np.float32))
        except MemoryError as error:
            raise DeviceMemoryError(f"no {nbytes} bytes of memory to flush the caches with") from error

    def run(self) -> None:
        """See `Engine.run`."""
        np.add(self.buffer, 1.0, out=self.buffer)


class CpuBackend(Backend):
    """A runtime whose runs are finished when the call returns, so that the host's clock is the device's."""

    builds_on_device: ClassVar[bool] = False

    def time_pass(self, engines: Sequence[Engine]) -> list[float]:
        """See `Backend.time_pass`. A clock reading, about 0.05 µs, is part of every time."""
        runs = [engine.run for engine in engines]
        stamps = [0] * (2 * len(runs))
        position = 0
        for run in runs:
            stamps[position] = perf_counter_ns()
            run()
            stamps[position + 1] = perf_counter_ns()
            position += 2
        return [(end - start) / 1e6 for start, end in zip(stamps[::2], stamps[1::2], strict=True)]

    def flush_bytes(self) -> int | None:
        """See `Backend.flush_bytes`."""
        return bytes_to_flush(processor.last_level_cache_bytes())

    def _flusher(self, nbytes: int) -> Engine:
        return CpuFlusher(nbytes)

    def cpu_target(self, *, versions: Mapping[str, str], options: Mapping[str, str]) -> TargetSpec:
        """The target on this processor; `cores` is on how many this very process may run."""
        machine = {
            "cpu": processor.cpu_revision(),
            "instructions": processor.vector_instructions(),
            "cores": str(len(processor.usable_cores())),
        }
        return TargetSpec(
            device=processor.cpu_name(),
            backend=self.name,
            versions=dict(versions),
            precision={"denormals": "zero", "float32": "ieee"},
            options=machine | dict(options),
            threads=self.options.threads,
        )
