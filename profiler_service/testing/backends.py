"""What every backend must do, whatever its runtime. Its own test class derives from `BackendSuite` and names it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.spec.errors import InvalidSpecError
from models.spec.graphs import ContextBase, GraphRequest
from models.spec.kinds import kind_info, kind_names
from models.spec.operators import DTYPE_BYTES, OperatorSpec
from models.testing.operators import needed_attributes
from profiler_service.backends.backend_options import AllOptions, BackendOptions, GpuOptions, option_of
from profiler_service.backends.base import Backend, Engine, FloatArray, GraphArtifact, seeded_input
from profiler_service.backends.registry import create_backend, target_settings
from profiler_service.errors import BuildError, RunError
from profiler_service.settings import Settings
from profiler_service.testing.denormals import DENORMAL, LARGE, NORMAL, in_own_process, require_flushing
from profiler_service.worker.graph_files import make_files
from profiler_service.worker.graphs import GraphCache
from profiler_service.worker.output_check import TOLERANCES, output_problem, tolerance
from profiler_service.worker.sampling import HOT_RUNS, run_isolated

SMALL = {"height": 10, "width": 14, "in_channels": 8}


def _operator(kind: str, stride: int = 1, dtype: str = "float32") -> OperatorSpec:
    out_channels = kind_info(kind).allowed_channels(8, 12)
    attributes = needed_attributes(kind, SMALL["in_channels"], (SMALL["height"], SMALL["width"]))
    fields = {"kind": kind, "stride": stride, "out_channels": out_channels, "dtype": dtype, "attributes": attributes}
    return OperatorSpec.parse({**fields, **SMALL})


ALONE = [GraphRequest(subject=_operator(kind, stride)) for kind in kind_names() for stride in kind_info(kind).strides]
IN_CONTEXT = [
    GraphRequest(subject=_operator(kind), in_context=True)
    for kind in ("conv3x3", "zoomed_conv3x3", "add", "concat", "upsample")
]
"""One of each sort: what surrounds an operator is the same for all kinds, but for joins and for what ends a network."""
BASE = GraphRequest(subject=ContextBase.of(_operator("conv3x3")))
CONVOLUTION = GraphRequest(subject=_operator("conv3x3"))


def _artifact(cache: GraphCache, backend: Backend, request: GraphRequest) -> GraphArtifact:
    artifact = cache.artifact(request, reads_onnx=backend.reads_onnx, unrolled=backend.unrolls)
    make_files(artifact, cache)
    return artifact


def _reference(artifact: GraphArtifact) -> FloatArray:
    assert artifact.reference_path is not None
    reference: FloatArray = np.load(artifact.reference_path)
    return reference


def _tf32(backend: Backend) -> bool:
    return isinstance(backend.options, GpuOptions) and backend.options.tf32


def _on(flag: bool) -> str:
    """As a target says it."""
    return "on" if flag else "off"


class BackendSuite:
    """The suite.

    Attributes:
        name: of the backend.
        options: under which it is tested.
    """

    name: str
    options: BackendOptions = BackendOptions()

    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls) -> Iterator[Backend]:
        """The backend under test. Another fixture may take its place."""
        with closing(create_backend(cls.name, cls.options)) as backend:
            yield backend

    @pytest.fixture(scope="class")
    @classmethod
    def cache(cls, tmp_path_factory: pytest.TempPathFactory) -> GraphCache:
        return GraphCache.open(tmp_path_factory.mktemp("graphs"))

    @pytest.fixture
    def engine(self, backend: Backend, cache: GraphCache) -> Iterator[Engine]:
        engine = backend.build(_artifact(cache, backend, CONVOLUTION))
        yield engine
        engine.close()

    @pytest.mark.parametrize("request_", [*ALONE, *IN_CONTEXT, BASE], ids=GraphRequest.label)
    def test_computes_what_the_torch_module_computes(self, backend: Backend, cache: GraphCache, request_: GraphRequest) -> None:
        artifact, tf32 = _artifact(cache, backend, request_), _tf32(backend)
        engine = backend.build(artifact)
        try:
            error, problem = output_problem(engine.infer(seeded_input(request_)), _reference(artifact), "float32", tf32=tf32)
        finally:
            engine.close()
        assert problem == ""
        assert error is not None
        assert error < tolerance("float32", tf32=tf32) / 10

    @pytest.mark.parametrize("kind", ["conv3x3", "zoomed_conv3x3_x2", "segmentation_head"])
    def test_computes_in_every_dtype_it_declares(self, backend: Backend, cache: GraphCache, kind: str) -> None:
        for dtype in backend.dtypes:
            request = GraphRequest(subject=_operator(kind, dtype=dtype))
            artifact = _artifact(cache, backend, request)
            engine = backend.build(artifact)
            output = engine.infer(seeded_input(request))
            engine.close()
            error, problem = output_problem(output, _reference(artifact), dtype, tf32=_tf32(backend))
            assert output.dtype == np.float32
            assert problem == ""
            assert error is not None
            if dtype != "float32":
                assert error > TOLERANCES["float32"] / 10, "as exact as float32: was it computed in float32?"

    def test_refuses_any_other_dtype_before_anything_is_built(self, backend: Backend) -> None:
        for dtype in DTYPE_BYTES.keys() - set(backend.dtypes):
            artifact = GraphArtifact(GraphRequest(subject=_operator("conv3x3", dtype=dtype)))
            with pytest.raises(InvalidSpecError, match=f"does not compute in {dtype}, only in float32"):
                backend.build(artifact)

    def test_infers_for_any_input_and_keeps_nothing_of_it(self, engine: Engine) -> None:
        seeded, other = seeded_input(CONVOLUTION), np.zeros(CONVOLUTION.input_shape, dtype=np.float32)
        first = engine.infer(seeded)
        assert not np.array_equal(engine.infer(other), first)
        engine.run()
        np.testing.assert_array_equal(engine.infer(seeded), first)

    def test_flushes_denormals_as_its_target_says(self, backend: Backend, cache: GraphCache) -> None:
        require_flushing(backend)
        artifact = _artifact(cache, backend, GraphRequest(subject=_operator("upsample")))
        normal, denormal = in_own_process(backend, [(artifact, NORMAL, None), (artifact, DENORMAL, None)])
        assert normal.any()
        assert not denormal.any()

    def test_flushes_denormal_weights_too(self, backend: Backend, cache: GraphCache) -> None:
        """As nothing here asks for it, PyTorch and ONNX Runtime compute with them: 1e-39 times 1e10 is a normal number."""
        require_flushing(backend)
        artifact = _artifact(cache, backend, CONVOLUTION)
        normal, denormal = in_own_process(backend, [(artifact, LARGE, NORMAL), (artifact, LARGE, DENORMAL)])
        assert normal.any()
        assert not denormal.any()

    def test_an_input_of_the_wrong_shape_is_a_run_error(self, engine: Engine) -> None:
        with pytest.raises(RunError):
            engine.infer(np.zeros((1, 3, 10, 14), dtype=np.float32))

    def test_a_closed_engine_stays_closed(self, backend: Backend, cache: GraphCache) -> None:
        engine = backend.build(_artifact(cache, backend, CONVOLUTION))
        engine.close()
        engine.close()
        with pytest.raises(RunError, match="closed"):
            engine.run()
        with pytest.raises(RunError, match="closed"):
            engine.infer(seeded_input(CONVOLUTION))

    def test_times_engines_in_the_given_order_repeats_included(
        self, backend: Backend, cache: GraphCache, engine: Engine
    ) -> None:
        # 4096 times the arithmetic: no noise turns that around.
        large = GraphRequest(subject=OperatorSpec(kind="conv3x3", in_channels=128, out_channels=128, height=40, width=56))
        slow = backend.build(_artifact(cache, backend, large))
        try:
            backend.time_pass([engine, slow])
            times_ms = np.array([backend.time_pass([engine, slow, engine, engine, slow]) for _ in range(5)])
        finally:
            slow.close()
        assert times_ms.shape == (5, 5)
        assert (times_ms > 0).all()
        fast_ms, slow_ms = np.median(times_ms[:, [0, 2, 3]], axis=0), np.median(times_ms[:, [1, 4]], axis=0)
        assert fast_ms.max() < slow_ms.min()
        assert backend.time_pass([]) == []

    def test_a_rebuilt_engine_computes_the_same(self, backend: Backend, cache: GraphCache) -> None:
        artifact = _artifact(cache, backend, CONVOLUTION)
        engine = backend.rebuild(artifact)
        try:
            output = engine.infer(seeded_input(CONVOLUTION))
            _, problem = output_problem(output, _reference(artifact), "float32", tf32=_tf32(backend))
        finally:
            engine.close()
        assert problem == ""

    def test_every_protocol_of_one_engine_alone(self, backend: Backend, engine: Engine) -> None:
        """A flush of many megabytes takes its turn in a pass, and its time is not the engine's."""
        assert all(time_ms > 0 for time_ms in run_isolated(backend, engine, 3))
        assert len(run_isolated(backend, engine, 2, runs_per_interval=HOT_RUNS)) == 2
        if backend.flush_bytes() is None:
            with pytest.raises(InvalidSpecError, match="isolated_cold"):
                backend.flusher()
            return
        cold_ms = run_isolated(backend, engine, 5, cold=True)
        with closing(backend.flusher()) as flusher:
            flush_ms, _ = backend.time_pass([flusher, engine])
        assert len(cold_ms) == 5
        assert min(cold_ms) < flush_ms

    def test_tells_the_state_of_a_gpu_alone(self, backend: Backend) -> None:
        reading = backend.read_device()
        if backend.options.device != "cuda":
            assert reading is None
        elif reading is not None:
            assert reading.sm_clock_mhz > 0

    def test_tells_the_free_memory_of_a_gpu_that_has_its_own(self, backend: Backend) -> None:
        free = backend.free_bytes()
        if backend.options.device != "cuda":
            assert free is None
        else:
            assert free is None or free > 2**20

    def test_a_corrupt_or_missing_graph_is_a_build_error(self, backend: Backend, cache: GraphCache, tmp_path: Path) -> None:
        if not backend.reads_onnx:
            pytest.skip(f"{backend.name} reads no graph files")
        whole = _artifact(cache, backend, CONVOLUTION)
        assert whole.onnx_path is not None
        for name, data in {
            "cut.onnx": whole.onnx_path.read_bytes()[:-100],
            "text.onnx": b"not a graph",
            "empty.onnx": b"",
        }.items():
            path = tmp_path / name
            path.write_bytes(data)
            with pytest.raises(BuildError):
                backend.build(replace(whole, onnx_path=path))
        for absent in (tmp_path / "absent.onnx", None):
            with pytest.raises(BuildError):
                backend.build(replace(whole, onnx_path=absent))

    def test_queues_kernels_only_where_nothing_is_captured(self, backend: Backend) -> None:
        on_a_gpu = backend.options.device == "cuda"
        cuda_graphs = getattr(backend.options, "cuda_graphs", True)
        assert backend.options.queues_kernels == (on_a_gpu and not cuda_graphs)
        if not backend.name.startswith("tensorrt"):
            chosen = {option: value for option, value in backend.options if option in AllOptions.model_fields}
            own = backend.options.model_dump(mode="json", exclude=set(AllOptions.model_fields))
            told = {"cuda_graphs": not cuda_graphs, "backend_options": json.dumps(own) if own else ""}
            changed = AllOptions.parse(chosen | told)
            with closing(create_backend(backend.name, changed)) as other:
                assert other.options.queues_kernels == (on_a_gpu and not changed.cuda_graphs)
                assert (other.target() == backend.target()) is not on_a_gpu, "a processor has no graphs to do without"

    def test_says_what_it_measures_on(self, backend: Backend) -> None:
        target = backend.target()
        assert target.backend == backend.name
        assert target.versions.get(backend.name), "its target names the version of its runtime under the backend's own name"
        assert target == backend.target()
        if backend.options.device == "cuda":
            assert (target.precision["tf32"], target.threads) == (_on(_tf32(backend)), 0)
            assert target.compute_capability
        else:
            assert target.threads == backend.options.threads

    def test_is_measured_on_again_under_its_settings(self, backend: Backend) -> None:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in target_settings(backend.name, backend.options).items():
                patch.setenv(name, value)
            options = Settings.load(backend=backend.name).chosen_options()
        with closing(create_backend(backend.name, options)) as again:
            assert again.target().id() == backend.target().id()

    def test_what_changes_a_time_changes_the_target(self, backend: Backend) -> None:
        threads, tf32 = backend.options.threads, _tf32(backend)
        changes: dict[str, tuple[dict[str, Any], str]] = {
            "cpu": ({"threads": threads + 1}, f"threads: {threads} here, {threads + 1} there"),
            "cuda": ({"tf32": not tf32}, f"precision.tf32: {_on(tf32)} here, {_on(not tf32)} there"),
        }
        change, difference = changes[backend.options.device or "cpu"]
        other = create_backend(backend.name, backend.options.model_copy(update=change))
        try:
            assert backend.target().differences(other.target()) == [difference]
        finally:
            other.close()
            create_backend(backend.name, backend.options).close()  # threads are the process's in some runtimes

    def test_every_switch_of_the_target_changes_it(self, backend: Backend) -> None:
        """What `Backend.target` leaves out of its options lets one table hold the times of both."""
        fields = type(backend.options).model_fields
        for name in [name for name, field in fields.items() if field.annotation is bool and option_of(field).in_target]:
            changed = backend.options.model_copy(update={name: not getattr(backend.options, name)})
            try:
                other = create_backend(backend.name, changed)
            except InvalidSpecError:
                continue  # it always runs so: TensorRT always captures
            with closing(other):
                assert other.target().id() != backend.target().id(), f"{name} is not in the target"
