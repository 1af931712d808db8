"""torch and Inductor on a fake GPU: captured and eager, on the device's clock."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from importlib.machinery import ModuleSpec
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed: pip install 'opclock[graphs]'")

import torch

from models.spec.errors import InvalidSpecError
from models.spec.graphs import GraphRequest
from models.spec.operators import OperatorSpec
from profiler_service.backends import inductor, torch_cuda
from profiler_service.backends.backend_options import BackendOptions, InductorCudaOptions, TorchCudaOptions
from profiler_service.backends.base import GraphArtifact, seeded_input
from profiler_service.backends.inductor import InductorCudaBackend
from profiler_service.backends.registry import create_backend
from profiler_service.backends.torch_cpu import TorchBackend
from profiler_service.backends.torch_cuda import TorchCudaBackend
from profiler_service.errors import BackendUnavailableError, BuildError, DeviceMemoryError, RunError
from tests.support.fake_device import STEADY
from tests.support.fake_torch_cuda import OPERATOR_MS, FakeCuda

CAPTURED = TorchCudaOptions(device="cuda")
EAGER = TorchCudaOptions(device="cuda", cuda_graphs=False)
Install = Callable[..., FakeCuda]


def _artifact(kind: str, dtype: str = "float32") -> GraphArtifact:
    spec = {"kind": kind, "in_channels": 8, "out_channels": 12, "height": 10, "width": 14, "dtype": dtype}
    return GraphArtifact(GraphRequest(subject=OperatorSpec.parse(spec), in_context=True))


SHORT, LONG = _artifact("conv3x3"), _artifact("zoomed_conv3x3_x2")


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """A fake in the place of torch's functions, and of the fake before it."""
    watched = ExitStack()

    def install(**behaviour: Any) -> FakeCuda:
        cuda = FakeCuda(**behaviour)
        cuda.install(monkeypatch)
        watched.close()
        watched.enter_context(cuda.watch())
        monkeypatch.setattr(torch_cuda, "Telemetry", lambda bus: {"0000:1B:00.0": cuda.telemetry}[bus])
        monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
        monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
        return cuda

    with watched:
        yield install


@pytest.mark.parametrize("options", [CAPTURED, EAGER], ids=["captured", "eager"])
def test_computes_what_it_computes_on_the_cpu(install: Install, options: TorchCudaOptions) -> None:
    install()
    engine = TorchCudaBackend(options).build(LONG)
    expected = TorchBackend(BackendOptions()).build(LONG)
    seeded = seeded_input(LONG.request)
    for array in (seeded, np.zeros_like(seeded), seeded):
        np.testing.assert_allclose(engine.infer(array), expected.infer(array), rtol=1e-4, atol=1e-5)
    engine.run()
    with pytest.raises(RunError, match="the input must be"):
        engine.infer(np.zeros((1, 1, 1, 1), np.float32))
    engine.close()
    engine.close()
    for used in (engine.run, lambda: engine.infer(seeded)):
        with pytest.raises(RunError, match="closed"):
            used()


@pytest.mark.parametrize("options", [CAPTURED, EAGER], ids=["captured", "eager"])
def test_everything_runs_on_the_backends_stream_and_is_done_when_it_returns(
    install: Install, options: TorchCudaOptions
) -> None:
    """On any other stream the fake refuses the engine's memory."""
    cuda = install()
    backend = TorchCudaBackend(options)
    engine, flusher = backend.build(SHORT), backend.flusher()
    array = np.zeros_like(seeded_input(SHORT.request))
    works = (engine.run, flusher.run, lambda: backend.time_pass([flusher, engine]), lambda: engine.infer(array))
    for work in works:
        before_ms = cuda.default.clock_ms
        work()
        assert not cuda.busy
        assert cuda.default.clock_ms == before_ms
    assert cuda.current is cuda.default


def test_captured_runs_stand_in_the_queue_together_eager_ones_alone(install: Install) -> None:
    for options, sleeps in ((CAPTURED, 1), (EAGER, 3)):
        cuda = install()
        backend = TorchCudaBackend(options)
        short, long = backend.build(SHORT), backend.build(LONG)
        cuda.sleeps = 0
        times_ms = backend.time_pass([short, long, short])
        assert cuda.sleeps == sleeps
        assert backend.options.queues_kernels == (options is EAGER)
        assert times_ms[0] == pytest.approx(times_ms[2])
        assert times_ms[1] > times_ms[0] >= OPERATOR_MS
        assert backend.time_pass([]) == []


def test_a_capture_that_stays_empty_is_a_build_error(install: Install) -> None:
    install(records_nothing=True)
    with pytest.raises(BuildError, match="captured CUDA graph is empty"):
        TorchCudaBackend(CAPTURED).build(SHORT)
    TorchCudaBackend(EAGER).build(SHORT)


def test_how_runs_are_launched_is_part_of_the_target(install: Install) -> None:
    install()
    captured, eager = TorchCudaBackend(CAPTURED).target(), TorchCudaBackend(EAGER).target()
    assert captured.differences(eager) == ["options.mode: captured here, eager there"]
    assert (captured.device, captured.compute_capability) == ("Fake H200", "9.0")


def test_reads_and_flushes_the_device(install: Install) -> None:
    cuda = install()
    backend = TorchCudaBackend(CAPTURED)
    assert backend.read_device() == STEADY
    assert backend.flush_bytes() == 2**21
    engine, flusher = backend.build(SHORT), backend.flusher()
    flush_ms, run_ms = backend.time_pass([flusher, engine])
    assert (flush_ms, run_ms) == (pytest.approx(OPERATOR_MS), pytest.approx(backend.time_pass([engine])[0]))
    flusher.run()
    flusher.close()
    with pytest.raises(RunError, match="closed"):
        flusher.run()
    backend.close()
    assert cuda.telemetry.closed


def test_tells_the_memory_that_is_free_on_the_device_or_in_its_allocator(install: Install) -> None:
    cuda = install()
    backend = TorchCudaBackend(CAPTURED)
    assert backend.free_bytes() == cuda.free_bytes + cuda.reserved_bytes - cuda.allocated_bytes
    cuda.failing = RuntimeError("CUDA error: an illegal memory access was encountered")
    with pytest.raises(BackendUnavailableError, match="illegal memory access"):
        backend.free_bytes()
    install(integrated=True)
    assert TorchCudaBackend(CAPTURED).free_bytes() is None


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (RuntimeError("Found no NVIDIA driver on your system. Please check that you have an NVIDIA GPU"), "no NVIDIA driver"),
        (RuntimeError("The NVIDIA driver on your system is too old (found version 11040)."), "driver is too old"),
        (AssertionError("Torch not compiled with CUDA enabled"), "this torch was built without CUDA"),
        (RuntimeError("CUDA error: invalid device ordinal"), "there is no GPU of that index"),
        (RuntimeError("CUDA error: all CUDA-capable devices are busy or unavailable"), "the GPU is busy"),
        (RuntimeError("CUDA error: out of memory"), "no memory left to start on"),
        (RuntimeError("CUDA error: no kernel image is available for execution on the device"), "not supported by the runtime"),
    ],
)
def test_a_gpu_that_cannot_be_used_is_one_sentence(install: Install, error: Exception, says: str) -> None:
    install(failing=error)
    with pytest.raises(BackendUnavailableError, match=says) as caught:
        TorchCudaBackend(CAPTURED)
    assert caught.value.hint


def test_a_gpu_that_the_driver_cannot_place_is_unavailable(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    install()

    def fail(_index: int) -> str:
        raise RuntimeError("cuDeviceGetPCIBusId: CUDA_ERROR_INVALID_DEVICE")

    monkeypatch.setattr(torch_cuda, "pci_bus_id", fail)
    with pytest.raises(BackendUnavailableError, match="no GPU of that index"):
        TorchCudaBackend(CAPTURED)


def test_what_a_gpu_is_too_old_for_is_refused(install: Install) -> None:
    install(name="GTX 1080 Ti", capability=(6, 1))
    with pytest.raises(BackendUnavailableError, match=r"GTX 1080 Ti is not supported: its compute capability is 6\.1"):
        TorchCudaBackend(CAPTURED)
    install(name="V100", capability=(7, 0))
    with pytest.raises(InvalidSpecError, match="V100 has no TF32"):
        TorchCudaBackend(TorchCudaOptions(device="cuda", tf32=True))
    volta = TorchCudaBackend(CAPTURED)
    assert volta.dtypes == ("float32", "float16")
    with pytest.raises(InvalidSpecError, match="does not compute in bfloat16, only in float32, float16"):
        volta.build(_artifact("conv3x3", "bfloat16"))


def test_memory_that_runs_out_while_building(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    install()
    backend = TorchCudaBackend(CAPTURED)

    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(torch_cuda, "TorchCudaEngine", refuse)
    with pytest.raises(DeviceMemoryError, match=r"Tried to allocate 2\.00 GiB"):
        backend.build(SHORT)
    assert not backend.broken()


def test_a_failure_that_lasts_breaks_the_backend_for_this_process(install: Install) -> None:
    cuda = install()
    backend = TorchCudaBackend(CAPTURED)
    engine, flusher, array = backend.build(SHORT), backend.flusher(), seeded_input(SHORT.request)
    assert not backend.broken()
    cuda.broken = "CUDA error: an illegal memory access was encountered"
    works = (engine.run, flusher.run, lambda: engine.infer(array), lambda: backend.time_pass([engine]), backend.flusher)
    for work in works:
        with pytest.raises(RunError, match="illegal memory access"):
            work()
    with pytest.raises(BuildError, match="illegal memory access"):
        backend.build(SHORT)
    assert backend.broken()
    engine.close()
    assert backend.broken()


def test_a_build_of_torch_without_cuda_says_so() -> None:
    if torch.version.cuda is not None:
        pytest.skip("this torch has CUDA; its CPU build has not: pip install torch --index-url …/whl/cpu")
    for name in ("torch", "inductor"):
        with pytest.raises(BackendUnavailableError, match="this torch was built without CUDA"):
            create_backend(name, CAPTURED)


class TestInductor:
    @pytest.fixture
    def triton(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(inductor, "find_spec", lambda name: ModuleSpec(name, None))
        monkeypatch.setenv("CC", sys.executable)  # any program that tells its version

    def test_captures_what_was_compiled_for_static_shapes(
        self, install: Install, triton: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        install()
        asked: list[dict[str, Any]] = []
        monkeypatch.setattr(torch, "compile", lambda module, **options: asked.append(options) or module)
        backend = InductorCudaBackend(InductorCudaOptions(device="cuda", max_autotune=True))
        engine = backend.build(SHORT)
        expected = TorchBackend(BackendOptions()).build(SHORT).infer(seeded_input(SHORT.request))
        np.testing.assert_allclose(engine.infer(seeded_input(SHORT.request)), expected, rtol=1e-4, atol=1e-5)
        assert [(one["dynamic"], one["fullgraph"]) for one in asked] == [(False, True)]
        assert asked[0]["options"]["max_autotune"]
        target = backend.target()
        assert (target.backend, target.versions["inductor"]) == ("inductor", torch.__version__)
        assert (target.options["mode"], target.options["max_autotune"]) == ("compiled, captured", "on")
        uncaptured = InductorCudaBackend(InductorCudaOptions(device="cuda", cuda_graphs=False, max_autotune=True)).target()
        assert target.differences(uncaptured) == ["options.mode: compiled, captured here, compiled there"]

    def test_without_triton_it_is_unavailable(self, install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
        install()
        monkeypatch.setattr(inductor, "find_spec", lambda name: None)
        with pytest.raises(BackendUnavailableError, match="inductor needs Triton on a GPU"):
            InductorCudaBackend(CAPTURED)
