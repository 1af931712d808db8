"""What a GPU can do at most, and whether a device's clock agrees: copies against the bus. Run in a process of its own.

    python -m profiler_service.gpu_check.peaks --access cuda-core -o copying.json

A clock that shows more than the data sheet's formula is wrong. A copy from device memory to device memory is captured and timed
as engines are, and so are two such copies in a row, between other buffers. One copy of twice the bytes would not do: on an H100
it ran at four fifths of the smaller one's rate.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from statistics import median
from typing import Any

from models.spec.errors import OpclockError
from models.spec.operators import Dtype
from profiler_service.backends.blocking_kernel import BlockingKernelTimer
from profiler_service.backends.device.base import Device, open_device
from profiler_service.errors import RunError
from profiler_service.settings import Settings

_PLAIN = {
    "7.0": 128,
    "7.2": 128,
    "7.5": 128,
    "8.0": 128,
    "8.6": 256,
    "8.7": 256,
    "8.9": 256,
    "9.0": 256,
    "10.0": 256,
    "12.0": 256,
}
_TENSOR = {
    **{"7.0": 1024, "7.2": 1024, "7.5": 1024, "8.0": 2048, "8.6": 1024, "8.7": 2048, "8.9": 1024, "9.0": 4096},
    **{"10.0": 8192, "12.0": 1024},
}
_TF32 = {"8.0": 1024, "8.6": 512, "8.7": 1024, "8.9": 512, "9.0": 2048, "10.0": 4096, "12.0": 512}
"""Floating-point operations of one multiprocessor in one cycle, by compute capability: float32 (two for each lane), dense
16-bit products, and dense products of float32 in TF32.

Each is the most that any board of that capability does, so that no right clock fails: GeForce boards of 8.6, 8.9 and 12.0 do
half as much in TF32, and in 16 bits where they add up in float32, as professional ones of the same chip. A capability that is
missing is not checked. Source: NVIDIA's architecture white papers and data sheets."""


@dataclass(frozen=True)
class Limits:
    """Limits of a GPU as NVML reports them; None where it does not.

    Attributes:
        sm_clock_mhz, memory_clock_mhz: at the most. bus_bits: width of its memory's bus.
    """

    sm_clock_mhz: float | None = None
    memory_clock_mhz: float | None = None
    bus_bits: int | None = None

    def flops(self, capability: str, multiprocessors: int, dtype: Dtype, *, tf32: bool = False) -> float | None:
        """Floating-point operations per second, float32 in TF32 only if `tf32`; None where a factor is unknown."""
        float32 = _TF32 if tf32 else _PLAIN
        per_cycle = (float32 if dtype == "float32" else _TENSOR).get(capability)
        return self.sm_clock_mhz * 1e6 * multiprocessors * per_cycle if per_cycle and self.sm_clock_mhz else None

    def bytes_per_s(self) -> float | None:
        """Bytes read or written per second: two transfers in a cycle of the memory's clock."""
        return 2e6 * self.memory_clock_mhz * self.bus_bits / 8 if self.memory_clock_mhz and self.bus_bits else None


def limits_of(device: str) -> Limits:
    """Of the first GPU of that name; nothing known where NVML is not there or knows no such GPU."""
    try:
        import pynvml
    except ModuleNotFoundError:
        return Limits()
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return Limits()
    try:
        for index in range(pynvml.nvmlDeviceGetCount()):
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            if pynvml.nvmlDeviceGetName(handle) == device:
                return Limits(
                    sm_clock_mhz=pynvml.nvmlDeviceGetMaxClockInfo(handle, pynvml.NVML_CLOCK_SM),
                    memory_clock_mhz=pynvml.nvmlDeviceGetMaxClockInfo(handle, pynvml.NVML_CLOCK_MEM),
                    bus_bits=pynvml.nvmlDeviceGetMemoryBusWidth(handle),
                )
    except pynvml.NVMLError:  # a GPU that does not report this, as Jetson's
        return Limits()
    finally:
        pynvml.nvmlShutdown()
    return Limits()


NBYTES = 2**28
"""Of one copy: several times any L2 cache."""

RUNS = 50
PEAK_TOLERANCE = 0.02
"""Share of the peak rate by which a measured rate may seem to exceed it."""

LEAST_OF_PEAK = 0.5
"""Share of the peak rate that a copy reaches at the least; a clock that counts waiting would show less."""

DOUBLE_TOLERANCE = 0.1
"""How far from twice one copy's time two copies may be, as a fraction."""

Copy = Callable[[int, int, int, int], None]
"""Enqueues a copy: to, from, bytes, stream."""


def driver_copy() -> Copy:
    """The driver's own copy, reached without any of the libraries that are being checked. Raises RunError."""
    try:
        function = ctypes.CDLL("libcuda.so.1").cuMemcpyDtoDAsync_v2
    except (OSError, AttributeError) as error:
        raise RunError(f"the driver's library cannot be used: {error}", hint="Run nvidia-smi.") from error
    function.argtypes = [ctypes.c_uint64, ctypes.c_uint64, ctypes.c_size_t, ctypes.c_void_p]
    function.restype = ctypes.c_int

    def copy(to: int, origin: int, nbytes: int, stream: int) -> None:
        if code := function(to, origin, nbytes, stream):
            raise RunError(f"cuMemcpyDtoDAsync returned {code}")

    return copy


def measure(device: Device, copy: Copy, limits: Limits, nbytes: int = NBYTES) -> dict[str, Any]:
    """The checks and numbers of that device."""
    buffers = [(device.allocate(nbytes), device.allocate(nbytes)) for _ in range(2)]

    def copies(count: int, stream: int) -> None:
        for target, origin in buffers[:count]:
            copy(target.address, origin.address, nbytes, stream)

    graphs = [device.capture(partial(copies, count)) for count in (1, 2)]
    try:
        timer = BlockingKernelTimer(device)
        launches = [graph.launch for graph in graphs]
        timer.time(launches * 3)
        times = timer.time(launches * RUNS)
    finally:
        for graph in graphs:
            graph.close()
        for memory in chain.from_iterable(buffers):
            memory.close()
    single_ms, double_ms = median(times[::2]), median(times[1::2])
    rate, peak, ratio = 2 * nbytes / (single_ms / 1e3), limits.bytes_per_s(), double_ms / single_ms
    checks = [
        {
            "name": "two copies",
            "passed": abs(ratio / 2 - 1) <= DOUBLE_TOLERANCE,
            "detail": f"{ratio:.3f} times as long; 2 ± {DOUBLE_TOLERANCE:.0%}",
        }
    ]
    if peak is not None:
        share = rate / peak
        checks.append(
            {
                "name": "copy on the device",
                "passed": LEAST_OF_PEAK < share < 1 + PEAK_TOLERANCE,
                "detail": f"{rate / 1e9:.0f} of at most {peak / 1e9:.0f} GB/s read and written ({share:.0%})",
            }
        )
    numbers = {"bytes": nbytes, "copy_ms": single_ms, "double_ms": double_ms, "bytes_per_s": rate, "peak_bytes_per_s": peak}
    return {"device": device.info.name, "checks": checks, "numbers": numbers, "samples_ms": times}


def main() -> int:
    """Run the checks of one device with one library. Returns 0 whatever the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--access", choices=["cuda-core", "pycuda"], required=True)
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    try:
        device = open_device(options.access, Settings.load().device_index)
        try:
            document = measure(device, driver_copy(), limits_of(device.info.name))
        finally:
            device.close()
    except OpclockError as error:
        print(json.dumps({"error": {"code": error.code.value, "message": error.message, "hint": error.hint}}))
        return int(error.exit_code)
    options.output.write_text(json.dumps(document, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
