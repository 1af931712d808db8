"""Does TensorRT-RTX execute on this GPU? Prints one JSON document that says how far it gets, and what it says where it stops.

Stands alone: needs numpy, onnx, TensorRT-RTX's wheels and, to run anything, cuda-core. For each compute capability that an
engine may be built for, a child process builds one 3×3 convolution, loads it, runs it, compares the result with numpy, captures
it into a CUDA graph and times replays. A child that crashes or hangs is reported as such; the probe itself ends with 0 if any
variant executed correctly, with 1 otherwise.

    python scripts/probe_tensorrt_rtx.py [--timeout 90] [--device-index 0] [-o probe.json]
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import importlib
import json
import platform
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

VARIANTS = ("default", "CURRENT", "SM80", "SM86", "SM89", "SM120")
"""What to build for: everything that TensorRT-RTX does by default, this GPU, and one after the other."""

PACKAGES = ("tensorrt_rtx_cu13_bindings", "tensorrt_rtx_cu13_libs", "cuda-core", "cuda-bindings", "numpy", "onnx")
CHANNELS, HEIGHT, WIDTH = 64, 32, 64
REPLAYS = 200
TOLERANCES = {"float32": 1e-5, "float16": 3e-3}
"""Relative L2 errors against numpy in float64."""


def main() -> int:
    """Run the children; print what they found out."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--timeout", type=float, default=90.0, help="seconds for each variant")
    parser.add_argument("--device-index", type=int, default=0, metavar="N", help="which of several GPUs, as CUDA counts them")
    parser.add_argument("--dtype", choices=sorted(TOLERANCES), default="float16")
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--variant", choices=VARIANTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.variant:
        return child(options.variant, options.dtype, options.device_index)
    variants = {
        variant: run_child(variant, options.dtype, options.timeout, device_index=options.device_index) for variant in VARIANTS
    }
    executed = [variant for variant, found in variants.items() if found["outcome"] == "executed"]
    document = {
        "executes": bool(executed),
        "executed_variants": executed,
        "dtype": options.dtype,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: installed(name) for name in PACKAGES},
        "variants": variants,
    }
    text = json.dumps(document, indent=2)
    print(text)
    if options.output:
        options.output.write_text(text + "\n")
    return 0 if executed else 1


def run_child(variant: str, dtype: str, timeout_s: float, *, device_index: int = 0) -> dict[str, Any]:
    """The steps of one variant, and how it ended: executed, failed, crashed or hung."""
    chosen = ("--variant", variant, "--dtype", dtype, "--device-index", str(device_index))
    command = [sys.executable, str(Path(__file__).resolve()), *chosen]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace")
    try:
        stdout, stderr = process.communicate(timeout=timeout_s)
        ended = "executed" if process.returncode == 0 else "failed"
        if process.returncode < 0:
            ended = f"crashed with {signal.Signals(-process.returncode).name}"
    except subprocess.TimeoutExpired:
        process.kill()
        stdout, stderr = process.communicate()
        ended = f"hung for {timeout_s:.0f} s"
    steps = [json.loads(line) for line in stdout.splitlines() if line.startswith('{"step"')]
    finished = {step["step"] for step in steps if "ok" in step}
    return {
        "outcome": ended,
        "unfinished": [step["step"] for step in steps if "ok" not in step and step["step"] not in finished],
        "steps": [step for step in steps if "ok" in step],
        "stderr": stderr[-2000:],
    }


def installed(package: str) -> str | None:
    """The version that is installed; None if it is not."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


# What follows runs in a child.


class StepError(Exception):
    """A step's result is wrong, or the vendor reported failure without raising."""


def child(variant: str, dtype: str, device_index: int) -> int:
    """All steps of one variant, each announced before it starts; 0 if all went well."""
    faulthandler.enable()
    try:
        probe(variant, dtype, device_index)
    except Exception:
        traceback.print_exc()
        return 1
    return 0


@contextlib.contextmanager
def step(name: str) -> Iterator[dict[str, Any]]:
    """Announce a step; afterwards say how it went. What it puts into the dictionary is printed."""
    found: dict[str, Any] = {}
    print(json.dumps({"step": name}), flush=True)
    started = time.perf_counter()
    try:
        yield found
    except Exception as error:
        found["error"] = f"{type(error).__name__}: {error}"
        raise
    finally:
        line = {"step": name, "ok": "error" not in found, "seconds": round(time.perf_counter() - started, 3), **found}
        print(json.dumps(line, default=str), flush=True)


def must(value: Any, what: str, log: list[str]) -> Any:
    """That value, unless it is None or False."""
    if value is None or value is False:
        raise StepError(f"{what} returned {value}: " + "; ".join(log[-5:]))
    return value


def probe(variant: str, dtype: str, device_index: int) -> None:
    """Build, load, run, capture, replay. Raises where something fails."""
    import numpy as np

    with step("import TensorRT-RTX") as found:
        trt = import_runtime()
        found |= {"module": trt.__name__, "version": trt.__version__, "parser": str(trt.get_nv_onnx_parser_version())}
        found["builds_for"] = list(trt.ComputeCapability.__members__)
    log: list[str] = []
    logger = make_logger(trt, log)
    rng = np.random.default_rng(1)
    weight = (rng.standard_normal((CHANNELS, CHANNELS, 3, 3)) / np.sqrt(9 * CHANNELS)).astype(dtype)
    source = rng.standard_normal((1, CHANNELS, HEIGHT, WIDTH)).astype(dtype)
    with step("build the engine") as found:
        plan = build(trt, logger, log, convolution(weight), variant)
        found["bytes"] = plan.nbytes
    with step("open the device") as found:
        from cuda.core import Device

        device = Device(device_index)
        device.set_current()
        stream = device.create_stream()
        found |= {"name": device.name, "compute_capability": tuple(device.compute_capability), "uuid": device.uuid}
        found["driver"] = cuda_driver_version()
    with step("load the engine"):
        runtime = must(trt.Runtime(logger), "Runtime", log)
        engine = must(runtime.deserialize_cuda_engine(plan), "deserialize_cuda_engine", log)
    with step("describe its layers") as found:
        inspector = must(engine.create_engine_inspector(), "create_engine_inspector", log)
        found["layers"] = inspector.get_engine_information(trt.LayerInformationFormat.JSON)[:1000]
    with step("make an execution context"):
        context = must(engine.create_execution_context(), "create_execution_context", log)
    result = np.empty_like(source)
    with step("run it"):
        buffers = {
            "input": device.allocate(source.nbytes, stream=stream),
            "output": device.allocate(result.nbytes, stream=stream),
        }
        for name, buffer in buffers.items():
            must(context.set_tensor_address(name, int(buffer.handle)), f"set_tensor_address {name}", log)
        copy(buffers["input"], source, stream, to_device=True)
        for _ in range(2):
            must(context.execute_async_v3(int(stream.handle)), "execute_async_v3", log)
        copy(buffers["output"], result, stream, to_device=False)
    with step("compare it with numpy") as found:
        found["relative_error"] = check(result, source, weight, TOLERANCES[dtype])
    with step("capture it"):
        graph = capture(context, stream, log)
    with step("replay it") as found:
        buffers["output"].fill(0, stream=stream)
        found["ms"] = replay(graph, stream)
        copy(buffers["output"], result, stream, to_device=False)
        found["relative_error"] = check(result, source, weight, TOLERANCES[dtype])


def import_runtime() -> Any:
    """The vendor's module under the first name that is there."""
    with contextlib.suppress(ModuleNotFoundError):
        return importlib.import_module("tensorrt_rtx")
    return importlib.import_module("tensorrt_rtx_bindings")


def cuda_driver_version() -> int:
    """13000 for a driver that offers CUDA 13.0."""
    from cuda.bindings import driver

    code, version = driver.cuDriverGetVersion()
    if code != driver.CUresult.CUDA_SUCCESS:
        raise StepError(f"cuDriverGetVersion returned {code.name}")
    return int(version)


def make_logger(trt: Any, log: list[str]) -> Any:
    """A logger that keeps warnings and errors."""

    class Logger(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            if severity <= trt.ILogger.WARNING:
                log.append(message)
                print(message, file=sys.stderr, flush=True)

    return Logger()


def convolution(weight: Any) -> bytes:
    """An ONNX graph of one 3×3 convolution of stride 1, in the weight's dtype."""
    from onnx import helper, numpy_helper

    kind = helper.np_dtype_to_tensor_dtype(weight.dtype)
    shape = [1, CHANNELS, HEIGHT, WIDTH]
    graph = helper.make_graph(
        [helper.make_node("Conv", ["input", "weight"], ["output"], pads=[1, 1, 1, 1])],
        "probe",
        [helper.make_tensor_value_info("input", kind, shape)],
        [helper.make_tensor_value_info("output", kind, shape)],
        [numpy_helper.from_array(weight, "weight")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    text: bytes = model.SerializeToString()
    return text


def build(trt: Any, logger: Any, log: list[str], graph: bytes, variant: str) -> Any:
    """A strongly typed engine, for that compute capability."""
    builder = must(trt.Builder(logger), "Builder", log)
    network = must(builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)), "create_network", log)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(graph):
        raise StepError("; ".join(parser.get_error(index).desc() for index in range(parser.num_errors)))
    config = must(builder.create_builder_config(), "create_builder_config", log)
    config.clear_flag(trt.BuilderFlag.TF32)
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if variant != "default":
        config.num_compute_capabilities = 1
        must(config.set_compute_capability(getattr(trt.ComputeCapability, variant), 0), "set_compute_capability", log)
    return must(builder.build_serialized_network(network, config), "build_serialized_network", log)


def copy(buffer: Any, array: Any, stream: Any, *, to_device: bool) -> None:
    """A copy that is done when this returns."""
    from cuda.bindings import driver

    host, place, handle = array.ctypes.data, int(buffer.handle), stream.handle
    if to_device:
        (code,) = driver.cuMemcpyHtoDAsync(place, host, array.nbytes, handle)
    else:
        (code,) = driver.cuMemcpyDtoHAsync(host, place, array.nbytes, handle)
    if code != driver.CUresult.CUDA_SUCCESS:
        raise StepError(f"copying: {code.name}")
    stream.sync()


def check(result: Any, source: Any, weight: Any, tolerance: float) -> float:
    """Relative L2 error against the convolution in float64. Raises StepError where it is too large."""
    import numpy as np

    padded = np.pad(source[0].astype(np.float64), ((0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    expected = np.einsum("chwij,ocij->ohw", windows, weight.astype(np.float64), optimize=True)
    error = float(np.linalg.norm(result[0] - expected) / np.linalg.norm(expected))
    if not error < tolerance:
        raise StepError(f"relative error {error:.3g}, tolerance {tolerance:.3g}")
    return error


def capture(context: Any, stream: Any, log: list[str]) -> Any:
    """One run as a CUDA graph."""
    builder = stream.create_graph_builder().begin_building("thread_local")
    must(context.execute_async_v3(int(builder.stream.handle)), "execute_async_v3 while capturing", log)
    return builder.end_building().complete()


def replay(graph: Any, stream: Any) -> float:
    """Milliseconds of one replay, the mean of many back to back, by the device's clock."""
    from cuda.core import EventOptions

    timed = EventOptions(timing_enabled=True)
    for _ in range(2):  # the first time round warms up
        before = stream.record(options=timed)
        for _ in range(REPLAYS):
            graph.launch(stream)
        after = stream.record(options=timed)
    stream.sync()
    return float(after - before) / REPLAYS


if __name__ == "__main__":
    sys.exit(main())
