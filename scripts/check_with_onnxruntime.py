"""Times a validation's networks with plain ONNX Runtime, to hold against what the profiling service measured.

None of this project's timing code takes part: no sentinel, no scale, no rounds. Graphs come from its exporter; everything else
is a session with one thread on one core, `time.perf_counter` around each run, and the median. Runs go round the networks, one
of each at a time, so that caches are about as cold as when the service measured. For tables of ONNX Runtime on this CPU; run it
on a machine that does nothing else.

    python scripts/check_with_onnxruntime.py report/ --core 1

Ends with 0 where every network is within 3 % of what the validation measured, else with 1 and the names of those that are not.
"""

from __future__ import annotations

import argparse
import csv
import gc
import os
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import torch

from models.export.onnx_graph import to_onnx
from models.networks.module import build_module
from models.spaces.registry import read_architecture, space_of
from models.spec.architectures import ArchitectureSpec
from models.spec.graphs import GraphRequest

WARMUP = 5
"""Runs of each network before the timed ones."""


@dataclass(frozen=True)
class Point:
    """A network of a validation. `measured_ms` and `plain_ms` are the service's, with and without its normalisation."""

    architecture: ArchitectureSpec
    measured_ms: float
    sum_ms: float
    plain_ms: float | None


def read_points(report: Path, count: int) -> list[Point]:
    """So many of the validation's networks, from the fastest to the slowest, evenly spread."""
    with (report / "points.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["measured_ms"]]
    rows.sort(key=lambda row: float(row["measured_ms"]))
    chosen = sorted({round(index) for index in np.linspace(0, len(rows) - 1, min(count, len(rows)))})
    return [
        Point(
            read_architecture(rows[index]["architecture"]),
            float(rows[index]["measured_ms"]),
            float(rows[index]["sum_ms"]),
            float(rows[index]["plain_ms"]) if rows[index].get("plain_ms") else None,
        )
        for index in chosen
    ]


def onnx_file(architecture: ArchitectureSpec) -> bytes:
    """The network's graph, with the weights that the service gives it."""
    request = GraphRequest(subject=architecture)
    module = build_module(request, space_of(architecture).plan(architecture))
    model = to_onnx(module, request.input_shape, dtype=architecture.dtype, name=request.key(), unrolled=True)
    return model.SerializeToString()


def plain_ms(files: list[bytes], runs: int) -> list[float]:
    """Median milliseconds of each graph. This is the whole of the timing."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.set_denormal_as_zero", "1")
    sessions = [onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"]) for file in files]
    inputs = [
        {one.name: np.random.default_rng(0).standard_normal(one.shape, dtype=np.float32)}
        for one in (session.get_inputs()[0] for session in sessions)
    ]
    times_ms: list[list[float]] = [[] for _ in sessions]
    gc.disable()
    for _ in range(WARMUP + runs):
        for session, feed, times in zip(sessions, inputs, times_ms, strict=True):
            start = time.perf_counter()
            session.run(None, feed)
            times.append(1e3 * (time.perf_counter() - start))
    gc.enable()
    return [statistics.median(times[WARMUP:]) for times in times_ms]


def main() -> None:
    """Print a line for each network; end with 1 where one is off."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("report", type=Path, help="folder that `nas-client validate -o` wrote")
    parser.add_argument("--networks", type=int, default=10)
    parser.add_argument("--runs", type=int, default=100, help="of each network")
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)), help="the one core that everything runs on")
    parser.add_argument("--tolerance", type=float, default=0.03, help="how far a network may be off, as a fraction")
    options = parser.parse_args()
    os.sched_setaffinity(0, {options.core})
    torch.set_num_threads(1)
    points = read_points(options.report, options.networks)
    if not points:
        sys.exit(f"{options.report / 'points.csv'} has no measured network; validate again")
    times = plain_ms([onnx_file(point.architecture) for point in points], options.runs)
    print(_line("network", "plain ORT ms", "measured ms", "its plain ms", "sum ms", "measured/ORT", "sum/ORT"))
    off = []
    for point, ms in zip(points, times, strict=True):
        key, ratio = point.architecture.key(), point.measured_ms / ms
        shown = [None if one is None else f"{one:.4f}" for one in (ms, point.measured_ms, point.plain_ms, point.sum_ms)]
        print(_line(key, *(one or "" for one in shown), f"{ratio:.4f}", f"{point.sum_ms / ms:.4f}"))
        if abs(ratio - 1) > options.tolerance:
            off.append(f"{key} ({ratio - 1:+.1%})")
    if off:
        sys.exit(f"{len(off)} of {len(points)} networks are more than {options.tolerance:.0%} off: {', '.join(off)}")
    print(f"all {len(points)} networks are within {options.tolerance:.0%}")


def _line(name: str, *cells: str) -> str:
    return f"{name:16}" + "".join(f" {cell:>13}" for cell in cells)


if __name__ == "__main__":
    main()
