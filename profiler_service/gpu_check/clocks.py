"""Does a backend's clock agree with other clocks? Runs in its own process, which loads only that runtime.

    python -m profiler_service.gpu_check.clocks --backend inductor --device cuda -o clocks.json

It times a large matrix product (a 1×1 convolution) and compares it with the device's peak rate and with half the product; an
engine that does next to nothing; and the same product by an independent clock.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from models.spec.errors import OpclockError, WorkloadTooLargeError
from models.spec.graphs import GraphRequest
from models.spec.operators import Dtype, OperatorSpec
from profiler_service.backends.backend_options import DeviceKind
from profiler_service.backends.base import Backend, Engine
from profiler_service.backends.registry import create_backend, device_kinds
from profiler_service.gpu_check.peaks import PEAK_TOLERANCE, Limits, limits_of
from profiler_service.settings import Settings
from profiler_service.worker.graph_files import make_files
from profiler_service.worker.graphs import GraphCache

LONG_MS = 10.0
"""A product of this length drowns the launch of a run, some 10 µs, in the host's clock."""

RUNS = 30
CLOCKS_AGREE = 0.02
LEAST_OF_PEAK = 0.2
"""A product of this size reaches more than half; a clock that counts waiting would show far less."""

FLOOR = 0.05
"""An engine that does nothing takes less than this share of the product; else the clock measures itself."""

FIRST: dict[DeviceKind, tuple[int, int, int]] = {"cuda": (4096, 64, 64), "cpu": (256, 16, 32)}
"""Channels, height and width of the first product; it grows until it is long enough."""

DOUBLE_TOLERANCE = 0.15
"""Twice the product fills the device a little better."""


def product(channels: int, height: int, width: int, dtype: Dtype) -> OperatorSpec:
    """A matrix product of (height · width × channels) by (channels × channels)."""
    return OperatorSpec.parse(
        {
            "kind": "conv_bn_relu",
            "in_channels": channels,
            "out_channels": channels,
            "height": height,
            "width": width,
            "dtype": dtype,
            "attributes": {"kernel": 1},
        }
    )


def flops(operator: OperatorSpec) -> float:
    """Of that product, an addition and a multiplication for each multiply-add."""
    return 2.0 * operator.in_channels * operator.out_channels * operator.height * operator.width


@dataclass
class Clocks:
    """The checks of one backend and dtype. `checks` and `numbers` hold the results."""

    backend: Backend
    device: DeviceKind
    dtype: Dtype
    cache: GraphCache
    limits: Limits

    def __post_init__(self) -> None:
        self.checks: list[dict[str, Any]] = []
        self.numbers: dict[str, Any] = {}

    def run(self) -> None:
        """All checks."""
        tiny = self.build(product(1, 1, 1, self.dtype))
        full, engine = self.long_enough()
        half = self.build(product(full.in_channels, full.height, full.width // 2, self.dtype))
        try:
            floor_ms, half_ms, full_ms = self.times([tiny, half, engine])
            self.check_floor(floor_ms, full_ms, tiny)
            self.check_rate(full, full_ms)
            self.check_double(half_ms, full_ms)
            self.check_agreement(engine)
        finally:
            for built in (tiny, half, engine):
                built.close()

    def build(self, operator: OperatorSpec) -> Engine:
        """An engine of it, warm; without a reference output, which a processor would take minutes for."""
        request = GraphRequest(subject=operator)
        backend = self.backend
        artifact = self.cache.artifact(request, reads_onnx=backend.reads_onnx, unrolled=backend.unrolls)
        artifact = replace(artifact, reference_path=None)
        make_files(artifact, self.cache)
        engine = self.backend.build(artifact)
        self.backend.time_pass([engine] * 3)
        return engine

    def long_enough(self) -> tuple[OperatorSpec, Engine]:
        """A product that takes `LONG_MS`, or the largest that a workload may be."""
        channels, height, width = FIRST[self.device]
        spec = product(channels, height, width, self.dtype)
        engine = self.build(spec)
        while median(self.backend.time_pass([engine] * 5)) < LONG_MS:
            height, width = (height, 2 * width) if width <= height else (2 * height, width)
            try:
                larger = product(channels, height, width, self.dtype)
            except WorkloadTooLargeError:
                break
            engine.close()
            spec, engine = larger, self.build(larger)
        return spec, engine

    def times(self, engines: Sequence[Engine]) -> list[float]:
        """The median of each engine, run round-robin."""
        passes = [self.backend.time_pass(engines) for _ in range(RUNS)]
        samples = list(zip(*passes, strict=True))
        self.numbers["samples_ms"] = [list(column) for column in samples]
        return [median(column) for column in samples]

    def check_floor(self, floor_ms: float, long_ms: float, tiny: Engine) -> None:
        """An engine that does nothing takes only the time of a launch; on a GPU less than launch and wait take the host."""
        self.numbers["floor_ms"] = floor_ms
        detail = f"{1e3 * floor_ms:.2f} µs, beside a product of {long_ms:.3f} ms"
        self.check("floor", 0 < floor_ms < FLOOR * long_ms, detail, aim=self.device == "cpu")
        if self.device == "cuda":
            host_ms = _host_ms(tiny)
            self.numbers["floor_host_ms"] = host_ms
            detail = f"{1e3 * floor_ms:.2f} µs on the device, {1e3 * host_ms:.2f} µs for the host to launch it and wait"
            self.check("floor is the device's", floor_ms < host_ms, detail)

    def check_rate(self, spec: OperatorSpec, ms: float) -> None:
        """The rate must not exceed the device's peak."""
        rate = flops(spec) / (ms / 1e3)
        self.numbers |= {"product": spec.label(), "product_ms": ms, "flops_per_s": rate}
        target = self.backend.target()
        multiprocessors = int(target.options.get("multiprocessors", 0))
        tf32 = target.precision.get("tf32") == "on"
        peak = self.limits.flops(target.compute_capability, multiprocessors, self.dtype, tf32=tf32)
        self.numbers["peak_flops_per_s"] = peak
        if peak is None:
            return
        share = rate / peak
        detail = f"{rate / 1e12:.1f} of at most {peak / 1e12:.1f} TFLOP/s ({share:.0%})"
        self.check("matrix product", LEAST_OF_PEAK < share < 1 + PEAK_TOLERANCE, detail)

    def check_double(self, half_ms: float, full_ms: float) -> None:
        """Twice the work takes twice the time."""
        ratio, tolerance = full_ms / half_ms, DOUBLE_TOLERANCE
        self.numbers["double_ratio"] = ratio
        detail = f"{ratio:.3f} times as long; 2 ± {tolerance:.0%}"
        self.check("twice the product", abs(ratio / 2 - 1) <= tolerance, detail, aim=self.device == "cpu")

    def check_agreement(self, engine: Engine) -> None:
        """The same runs by another clock: on a GPU the host's, around runs that are waited for; on a processor the system's raw
        one, around all runs of a pass.
        """
        ratios = []
        for _ in range(5):
            if self.device == "cuda":
                ratios.append(_host_ms(engine) / median(self.backend.time_pass([engine] * RUNS)))
            else:
                started = time.clock_gettime(time.CLOCK_MONOTONIC_RAW)
                times = self.backend.time_pass([engine] * RUNS)
                ratios.append((time.clock_gettime(time.CLOCK_MONOTONIC_RAW) - started) * 1e3 / sum(times))
        ratio = median(ratios)
        self.numbers["other_clock_ratio"] = ratio
        detail = f"{ratio:.4f} times as long by the other clock; within {CLOCKS_AGREE:.0%} is accepted"
        self.check("independent clock", abs(ratio - 1) <= CLOCKS_AGREE, detail)

    def check(self, name: str, passed: bool, detail: str, *, aim: bool = False) -> None:
        """Add the result of a check; with `aim`, it is only reported, because other work may disturb a processor."""
        self.checks.append({"name": f"{self.dtype}: {name}", "passed": bool(passed), "detail": detail, "aim": aim})


def _host_ms(engine: Engine) -> float:
    """Milliseconds of the host's clock for one run that is waited for."""
    engine.run()
    started = time.perf_counter()
    for _ in range(RUNS):
        engine.run()
    return (time.perf_counter() - started) * 1e3 / RUNS


def main() -> int:
    """Run all checks of one backend, in every requested dtype that it supports. Returns 0 whatever the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backend", required=True)
    parser.add_argument("--device", choices=["cuda", "cpu"], required=True)
    parser.add_argument("--dtype", action="append", required=True)
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    if options.device not in device_kinds(options.backend):
        parser.error(f"backend {options.backend!r} does not run on {options.device}")
    try:
        document = measure(options.backend, options.device, options.dtype)
    except OpclockError as error:
        print(json.dumps({"error": {"code": error.code.value, "message": error.message, "hint": error.hint}}))
        return int(error.exit_code)
    options.output.write_text(json.dumps(document, indent=2) + "\n")
    return 0


def measure(name: str, device: DeviceKind, dtypes: Sequence[Dtype]) -> dict[str, Any]:
    """The checks and numbers of that backend, under the settings of the environment, as tables are measured under them.

    Builds are not replayed: no table has these products. Raises what the settings and the backend raise.
    """
    document: dict[str, Any] = {"backend": name, "checks": [], "numbers": {}}
    with TemporaryDirectory(prefix="opclock-") as folder:
        cache = GraphCache.open(Path(folder))
        settings = Settings.load(device=device, cache_dir=Path(folder), replay_builds=False)
        backend = create_backend(name, settings.options)
        try:
            target = backend.target()
            document["target"] = target.model_dump(mode="json")
            limits = limits_of(target.device) if device == "cuda" else Limits()
            for dtype in (dtype for dtype in dtypes if dtype in backend.dtypes):
                clocks = Clocks(backend, device, dtype, cache, limits)
                clocks.run()
                document["checks"] += clocks.checks
                document["numbers"][dtype] = clocks.numbers
        finally:
            backend.close()
    return document


if __name__ == "__main__":
    sys.exit(main())
