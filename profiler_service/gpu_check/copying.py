"""Does a CUDA device's clock say what its memory can do? Run in a process of its own.

    python -m profiler_service.gpu_check.copying --access cuda-core -o copying.json

A copy from device memory to device memory, captured and timed as engines are, against the bus; and two such copies in a row,
between other places. One copy of twice the bytes would not do: on an H100 it ran at four fifths of the smaller one's rate.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import sys
from collections.abc import Callable
from functools import partial
from itertools import chain
from pathlib import Path
from statistics import median
from typing import Any

from models.spec.errors import OpclockError
from profiler_service.backends.blocking_kernel import BlockingKernelTimer
from profiler_service.backends.device.base import Device, open_device
from profiler_service.errors import RunError
from profiler_service.gpu_check.peaks import Limits, limits_of
from profiler_service.settings import Settings

NBYTES = 2**28
"""Of one copy: several times any L2 cache."""

RUNS = 50
PEAK_TOLERANCE = 0.02
LEAST_OF_PEAK = 0.5
DOUBLE_TOLERANCE = 0.1

Copy = Callable[[int, int, int, int], None]
"""Enqueues a copy: to, from, bytes, stream."""


def driver_copy() -> Copy:
    """The driver's own copy, reached without any of the libraries that are being checked. Raises RunError."""
    try:
        function = ctypes.CDLL("libcuda.so.1").cuMemcpyDtoDAsync_v2
    except (OSError, AttributeError) as error:
        raise RunError(f"the driver's library cannot be used: {error}", hint="See what nvidia-smi says.") from error
    function.argtypes = [ctypes.c_uint64, ctypes.c_uint64, ctypes.c_size_t, ctypes.c_void_p]
    function.restype = ctypes.c_int

    def copy(to: int, origin: int, nbytes: int, stream: int) -> None:
        if code := function(to, origin, nbytes, stream):
            raise RunError(f"cuMemcpyDtoDAsync returned {code}")

    return copy


def measure(device: Device, copy: Copy, limits: Limits, nbytes: int = NBYTES) -> dict[str, Any]:
    """The checks and numbers of that device."""
    places = [(device.allocate(nbytes), device.allocate(nbytes)) for _ in range(2)]

    def copies(count: int, stream: int) -> None:
        for target, origin in places[:count]:
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
        for memory in chain.from_iterable(places):
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
    """The checks of one device by one library; 0 however they come out."""
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
