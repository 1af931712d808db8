"""ONNX Runtime's CUDA provider on a fake device: what is asked of it, how it is timed, and that nothing falls back."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed: pip install 'opclock[onnxruntime]'")

from models.spec.errors import InvalidSpecError
from models.spec.graphs import GraphRequest
from models.spec.operators import OperatorSpec
from profiler_service.backends import onnxruntime_cuda
from profiler_service.backends.backend_options import OnnxRuntimeCudaOptions
from profiler_service.backends.base import GraphArtifact, seeded_input
from profiler_service.backends.onnxruntime_cuda import OnnxRuntimeCudaBackend
from profiler_service.backends.registry import create_backend
from profiler_service.errors import BackendUnavailableError, BuildError, DeviceMemoryError, RunError
from profiler_service.worker.graph_files import make_files
from profiler_service.worker.graphs import GraphCache
from profiler_service.worker.output_check import output_problem
from tests.support.fake_device import HOPPER, STEADY, STREAM, FakeDevice, FakeTelemetry
from tests.support.fake_onnxruntime import CPU, RUN_MS, FakeOnnxRuntime

OPTIONS = OnnxRuntimeCudaOptions(device="cuda")
Make = Callable[..., OnnxRuntimeCudaBackend]


def _request(kind: str = "zoomed_conv3x3_x2", dtype: str = "float32") -> GraphRequest:
    spec = {"kind": kind, "in_channels": 8, "out_channels": 12, "height": 10, "width": 14, "dtype": dtype}
    return GraphRequest(subject=OperatorSpec.parse(spec), in_context=True)


@pytest.fixture
def device() -> FakeDevice:
    return FakeDevice()


@pytest.fixture
def make(device: FakeDevice, monkeypatch: pytest.MonkeyPatch) -> Make:
    """The backend on a fake ONNX Runtime of that behaviour."""

    def make(options: OnnxRuntimeCudaOptions = OPTIONS, **behaviour: Any) -> OnnxRuntimeCudaBackend:
        monkeypatch.setattr(onnxruntime_cuda, "onnxruntime", FakeOnnxRuntime(device, **behaviour))
        telemetry: Any = FakeTelemetry(device)
        return OnnxRuntimeCudaBackend(options, device=device, driver="580.65.06", telemetry=telemetry, cudnn="91002")

    return make


@pytest.fixture
def artifact(tmp_path: Path) -> Callable[[GraphRequest], GraphArtifact]:
    cache = GraphCache.open(tmp_path)

    def make(request: GraphRequest) -> GraphArtifact:
        artifact = cache.artifact(request, reads_onnx=True)
        make_files(artifact, cache)
        return artifact

    return make


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_computes_what_the_torch_module_computes(make: Make, artifact: Any, device: FakeDevice, dtype: str) -> None:
    backend, graph = make(), artifact(_request(dtype=dtype))
    engine = backend.build(graph)
    error, problem = output_problem(engine.infer(seeded_input(graph.request)), np.load(graph.reference_path), dtype)
    assert problem == ""
    assert error is not None
    other = engine.infer(np.zeros(graph.request.input_shape, np.float32))
    assert not np.array_equal(other, engine.infer(seeded_input(graph.request)))
    with pytest.raises(RunError, match="the input must be"):
        engine.infer(np.zeros((1, 1, 1, 1), np.float32))
    engine.close()
    engine.close()
    with pytest.raises(RunError, match="closed"):
        engine.run()
    assert device.memory == {}


@pytest.mark.parametrize(("cuda_graphs", "tf32"), [(True, False), (False, True)])
def test_asks_for_what_its_target_says(make: Make, cuda_graphs: bool, tf32: bool) -> None:
    backend = make(OPTIONS.model_copy(update={"cuda_graphs": cuda_graphs, "tf32": tf32}))
    (asked,) = onnxruntime_cuda.onnxruntime.asked  # type: ignore[attr-defined]
    assert asked["user_compute_stream"] == str(STREAM)
    assert (asked["enable_cuda_graph"], asked["use_tf32"]) == (str(int(cuda_graphs)), str(int(tf32)))
    target = backend.target()
    assert target.options["execution_provider"] == "CUDAExecutionProvider"
    assert target.options["mode"] == ("captured by ONNX Runtime" if cuda_graphs else "uncaptured")
    assert target.precision == {"tf32": "on" if tf32 else "off"}
    assert target.compute_capability == HOPPER.capability
    assert target.versions["cudnn"] == "91002", "its kernels are what is timed"
    differences = target.differences(make().target())
    assert len(differences) == (0 if (cuda_graphs, tf32) == (True, False) else 2)


@pytest.mark.parametrize("cuda_graphs", [True, False])
def test_times_runs_on_the_devices_clock(make: Make, artifact: Any, device: FakeDevice, cuda_graphs: bool) -> None:
    backend = make(OPTIONS.model_copy(update={"cuda_graphs": cuda_graphs}))
    engines = [backend.build(artifact(_request(kind))) for kind in ("conv3x3", "conv3x3_x2")]
    device.calls.clear()
    assert backend.time_pass([*engines, engines[0]]) == pytest.approx([RUN_MS] * 3)
    assert device.calls.count("sleep") == (1 if cuda_graphs else 3)  # uncaptured, each run has its own blocking kernel
    assert device.calls.count(f"submit {STREAM}") == 3
    flusher = backend.flusher()
    assert backend.time_pass([flusher, engines[0]])[1] == pytest.approx(RUN_MS)
    assert backend.flush_bytes() == 2 * HOPPER.l2_cache_bytes
    assert backend.read_device() == STEADY


def test_a_build_without_the_provider_is_told_with_how_to_get_it(make: Make) -> None:
    with pytest.raises(BackendUnavailableError, match=r"this build of ONNX Runtime \(1.31.1\) has no CUDAExecutionProvider"):
        make(providers=(CPU,))


@pytest.mark.parametrize("library", ["libcudnn-that-is-nowhere.so.9", "libc.so.6"])
def test_cudnn_that_is_not_there_is_told_with_how_to_get_it(monkeypatch: pytest.MonkeyPatch, library: str) -> None:
    monkeypatch.setattr(onnxruntime_cuda, "_CUDNN", library)
    with pytest.raises(BackendUnavailableError, match="cuDNN cannot be loaded") as caught:
        onnxruntime_cuda._cudnn_version()
    assert "onnxruntime-cuda" in caught.value.hint


def test_cudnns_version_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    def version() -> int:
        assert version.restype is ctypes.c_size_t  # type: ignore[attr-defined]
        return 91002

    monkeypatch.setattr(ctypes, "CDLL", lambda name: SimpleNamespace(cudnnGetVersion=version))
    assert onnxruntime_cuda._cudnn_version() == "91002"


def test_the_installed_build_without_a_provider_never_runs_on_the_cpu_instead() -> None:
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this build has the provider; the CPU build lacks it: pip install onnxruntime")
    with pytest.raises(BackendUnavailableError, match="has no CUDAExecutionProvider"):
        create_backend("onnxruntime", OPTIONS)


@pytest.mark.parametrize(
    ("behaviour", "message"),
    [
        ({"loads": False}, "asked for CUDAExecutionProvider, but the session uses CPUExecutionProvider"),
        ({"on_cpu": ("Conv",)}, "CUDAExecutionProvider leaves nodes to others: Conv first on CPUExecutionProvider"),
        ({"tells_placement": False}, "does not report whether CUDAExecutionProvider runs every node"),
        ({"ignores": "use_tf32"}, "ONNX Runtime takes use_tf32 something else for 0"),
        ({"records_nothing": True}, "a run is empty: it writes no output"),
        ({"waits": True}, "waits for the device in every run"),
    ],
)
def test_what_would_be_measured_wrongly_is_refused_at_the_start(
    make: Make, device: FakeDevice, behaviour: dict[str, Any], message: str
) -> None:
    with pytest.raises(BackendUnavailableError, match=message) as caught:
        make(**behaviour)
    assert caught.value.hint
    assert device.memory == {}


@pytest.mark.parametrize("cuda_graphs", [True, False])
def test_runs_that_wait_hint_at_what_is_not_done_yet(make: Make, cuda_graphs: bool) -> None:
    with pytest.raises(BackendUnavailableError) as caught:
        make(OPTIONS.model_copy(update={"cuda_graphs": cuda_graphs}), waits=True)
    assert "newer onnxruntime-gpu" in caught.value.hint
    assert ("OPCLOCK_CUDA_GRAPHS=false" in caught.value.hint) == cuda_graphs


def test_one_pause_of_the_host_is_not_taken_for_waiting(make: Make, device: FakeDevice) -> None:
    device.wait()
    make()


def test_a_node_left_to_the_cpu_is_a_build_error(make: Make, artifact: Any) -> None:
    backend = make(on_cpu=("Resize",))
    with pytest.raises(BuildError, match="leaves nodes to others: Resize operator_down on CPUExecutionProvider, Resize"):
        backend.build(artifact(_request()))


@pytest.mark.parametrize("content", [b"not a graph", b"", None])
def test_a_corrupt_or_missing_graph_is_a_build_error(make: Make, artifact: Any, tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "bad.onnx"
    if content is not None:
        path.write_bytes(content)
    backend, whole = make(), artifact(_request())
    with pytest.raises(BuildError):
        backend.build(replace(whole, onnx_path=path))
    with pytest.raises(BuildError, match="no ONNX file"):
        backend.build(replace(whole, onnx_path=None))


def test_memory_that_runs_out_and_runs_that_fail(make: Make, artifact: Any, device: FakeDevice) -> None:
    backend = make()
    engine = backend.build(artifact(_request()))
    fake: Any = onnxruntime_cuda.onnxruntime
    fake.failing = RuntimeError("[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : CUDA failure 700: an illegal memory access")
    with pytest.raises(RunError, match=r"cannot run its session: .*illegal memory access"):
        engine.run()
    fake.failing = RuntimeError("BFCArena::AllocateRawInternal Failed to allocate memory for requested buffer of size 8192")
    with pytest.raises(DeviceMemoryError):
        backend.build(artifact(_request("conv3x3")))
    fake.failing = None
    engine.close()
    assert device.memory == {}
    device._free = 0
    with pytest.raises(DeviceMemoryError, match="device memory"):
        backend.build(artifact(_request()))


def test_refuses_what_it_would_compute_in_another_type(make: Make, device: FakeDevice) -> None:
    with pytest.raises(InvalidSpecError, match="does not compute in bfloat16, only in float32, float16"):
        make().build(GraphArtifact(_request(dtype="bfloat16")))
    device.info = replace(HOPPER, name="Fake V100", compute_capability=(7, 0))
    with pytest.raises(InvalidSpecError, match="Fake V100 has no TF32"):
        make(OPTIONS.model_copy(update={"tf32": True}))
