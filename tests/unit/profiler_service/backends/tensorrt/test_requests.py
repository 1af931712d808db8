"""What is asked of TensorRT, where it shows, and its timing cache."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from models.spec.operators import Dtype
from profiler_service.backends.base import GraphArtifact
from profiler_service.backends.compiled_cache import CompiledCache
from profiler_service.backends.registry import create_backend
from profiler_service.backends.tensorrt.building import EngineRequest, Plan, PlanBuilder, TimingCache
from profiler_service.backends.tensorrt.vendor import TENSORRT, TENSORRT_RTX, Flavour, Vendor, load_vendor
from profiler_service.errors import BackendUnavailableError, BuildError
from tests.support.fake_device import HOPPER, FakeDevice
from tests.support.fake_tensorrt import LARGEST_WORKSPACE, FakeTensorRt
from tests.support.repository import ROOT
from tests.unit.profiler_service.backends.tensorrt.conftest import MakeArtifact, backend_of, rtx_backend_of


def _graph(artifact: GraphArtifact) -> bytes:
    assert artifact.onnx_path is not None
    return artifact.onnx_path.read_bytes()


@pytest.mark.parametrize("tf32", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_the_builder_is_configured_as_the_request_says(make_artifact: MakeArtifact, dtype: Dtype, tf32: bool) -> None:
    trt = FakeTensorRt(FakeDevice())
    backend_of(trt, tf32=tf32).build(make_artifact(dtype=dtype))
    (config,) = trt.configurations
    assert config.get_flag(trt.BuilderFlag.TF32) == tf32
    assert not config.get_flag(trt.BuilderFlag.ERROR_ON_TIMING_CACHE_MISS)
    assert config.get_flag(trt.BuilderFlag.REQUIRE_USER_ALLOCATION), "no memory is taken in a run, which is captured"
    request = EngineRequest(dtype)
    assert config.builder_optimization_level == request.optimisation_level
    assert config.max_aux_streams == request.auxiliary_streams == 0
    assert config.avg_timing_iterations == request.timing_iterations
    assert config.get_memory_pool_limit("WORKSPACE") == request.workspace_bytes
    assert config.profiling_verbosity == "DETAILED"


def test_a_value_that_the_vendor_silently_replaces_is_refused(artifact: GraphArtifact) -> None:
    builder = PlanBuilder(Vendor(TENSORRT, FakeTensorRt(FakeDevice())))
    with pytest.raises(BuildError, match="takes builder_optimization_level 9 for 5"):
        builder.build(_graph(artifact), EngineRequest("float32", optimisation_level=9))
    with pytest.raises(BuildError, match=f"takes workspace {2 * LARGEST_WORKSPACE} for {LARGEST_WORKSPACE}"):
        builder.build(_graph(artifact), EngineRequest("float32", workspace_bytes=2 * LARGEST_WORKSPACE))


def test_the_target_tells_everything_that_was_chosen() -> None:
    target = backend_of(FakeTensorRt(FakeDevice())).target()
    assert (target.device, target.backend, target.compute_capability, target.threads) == ("Fake H200", "tensorrt", "9.0", 0)
    assert target.precision == {"tf32": "off"}
    assert target.versions["tensorrt"] == "10.13.3.9"
    assert (target.versions["driver"], target.versions["cuda_driver"]) == ("580.65.06", "13.0")
    assert target.options["network"] == "strongly typed"
    assert target.options["auxiliary_streams"] == "0"
    with_tf32 = backend_of(FakeTensorRt(FakeDevice()), tf32=True).target()
    assert target.differences(with_tf32) == ["precision.tf32: off here, on there"]


def test_the_device_library_and_the_cache_are_no_part_of_the_target(tmp_path: Path) -> None:
    plain = backend_of(FakeTensorRt(FakeDevice())).target()
    other = backend_of(FakeTensorRt(FakeDevice()), device_access="pycuda", cache_dir=tmp_path).target()
    assert plain == other


@pytest.mark.parametrize(("capability", "built_for"), [((8, 6), "8.6"), ((9, 0), "its default")])
def test_rtx_builds_for_the_gpu_where_it_can_and_says_so(capability: tuple[int, int], built_for: str) -> None:
    trt = FakeTensorRt(FakeDevice(replace(HOPPER, compute_capability=capability)), version="1.7.1.116")
    target = rtx_backend_of(trt).target()
    assert target.backend == "tensorrt_rtx"
    assert target.options["built_for"] == built_for
    assert "timing_iterations" not in target.options


class TestTimingCache:
    def test_a_second_build_times_nothing(self, artifact: GraphArtifact) -> None:
        trt = FakeTensorRt(FakeDevice())
        builder = PlanBuilder(Vendor(TENSORRT, trt))
        for _ in range(2):
            builder.build(_graph(artifact), EngineRequest("float32"))
        assert (trt.builds, trt.tactics_timed) == (2, 1)

    def test_is_shared_through_its_file(self, artifact: GraphArtifact, make_artifact: MakeArtifact, tmp_path: Path) -> None:
        for graph in (artifact, make_artifact(height=7)):
            backend_of(FakeTensorRt(FakeDevice()), cache_dir=tmp_path).build(graph)
        late = FakeTensorRt(FakeDevice())
        backend = backend_of(late, cache_dir=tmp_path)
        backend.build(artifact)
        backend.build(make_artifact(height=7))
        assert late.tactics_timed == 0

    def test_keeps_what_another_process_wrote_during_a_build(self, tmp_path: Path) -> None:
        path = tmp_path / "t.timing"
        one, other = TimingCache(path), TimingCache(path)
        assert one.read() == b""
        other.merge(lambda present: present + b"other ")
        one.merge(lambda present: present + b"one")
        assert one.read() == other.read() == b"other one"

    def test_another_version_or_device_has_another_one(self, artifact: GraphArtifact, tmp_path: Path) -> None:
        backend_of(FakeTensorRt(FakeDevice()), cache_dir=tmp_path).build(artifact)
        for other in (
            FakeTensorRt(FakeDevice(), version="10.14.0.1"),
            FakeTensorRt(FakeDevice(replace(HOPPER, name="Fake H100"))),
        ):
            backend_of(other, cache_dir=tmp_path).build(artifact)
            assert other.tactics_timed == 1
        assert len(list(tmp_path.glob("*.timing"))) == 3

    def test_a_replay_builds_from_it_alone(self, artifact: GraphArtifact, make_artifact: MakeArtifact) -> None:
        trt = FakeTensorRt(FakeDevice())
        builder = PlanBuilder(Vendor(TENSORRT, trt), TimingCache())
        builder.build(_graph(artifact), EngineRequest("float32"))
        assert builder.build(_graph(artifact), EngineRequest("float32", replay=True)).request.replay
        with pytest.raises(BuildError, match="builds no engine"):
            builder.build(_graph(make_artifact(height=7)), EngineRequest("float32", replay=True))
        assert trt.tactics_timed == 1

    def test_a_file_that_cannot_be_written_is_named(self, artifact: GraphArtifact, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(BuildError, match="cannot be read or written") as caught:
            backend_of(FakeTensorRt(FakeDevice()), cache_dir=tmp_path / "file" / "below").build(artifact)
        assert str(tmp_path) in caught.value.message
        assert caught.value.hint


class TestKept:
    def test_a_graph_is_built_once_and_loaded_as_often_as_it_is_asked_for(
        self, artifact: GraphArtifact, make_artifact: MakeArtifact
    ) -> None:
        trt = FakeTensorRt(FakeDevice())
        backend = backend_of(trt)
        engines = [backend.build(graph) for graph in (artifact, make_artifact(height=7), artifact)]
        assert trt.builds == 2
        engines[0].close()
        engines[2].run()

    def test_a_graph_that_has_changed_is_built_anew(
        self, artifact: GraphArtifact, make_artifact: MakeArtifact, tmp_path: Path
    ) -> None:
        trt = FakeTensorRt(FakeDevice())
        backend = backend_of(trt)
        backend.build(artifact)
        (tmp_path / "damaged.onnx").write_bytes(b"")
        with pytest.raises(BuildError):
            backend.build(replace(artifact, onnx_path=tmp_path / "damaged.onnx"))

    def test_the_least_recently_used_goes_first(self) -> None:
        kept, built = CompiledCache(limit_bytes=250), []

        def get(key: str) -> Plan:
            return kept.get(key, lambda: built.append(key) or Plan(None, 100, EngineRequest("float32")))

        for key in ("a", "b", "a", "c", "a", "b"):
            get(key)
        assert built == ["a", "b", "c", "b"]


class TestVendorModules:
    @pytest.mark.parametrize(("name", "title"), [("tensorrt", "TensorRT"), ("tensorrt_rtx", "TensorRT-RTX")])
    def test_an_absent_one_names_its_extra(self, name: str, title: str, monkeypatch: pytest.MonkeyPatch) -> None:
        for module in (*TENSORRT.modules, *TENSORRT_RTX.modules):
            monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(BackendUnavailableError, match=f"{title} is not installed") as caught:
            create_backend(name)
        assert caught.value.hint == f"pip install 'opclock[{name.replace('_', '-')}]'"

    def test_none_is_needed_to_import_the_backend(self) -> None:
        absent = [*TENSORRT.modules, *TENSORRT_RTX.modules, "cuda", "pycuda", "torch"]
        block = f"import sys; sys.modules.update(dict.fromkeys({absent}))"
        subprocess.run(
            [sys.executable, "-c", f"{block}; import profiler_service.backends.tensorrt.backend"],
            check=True,
            cwd=ROOT,
        )

    def test_the_other_flavour_is_never_taken_instead(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "tensorrt", None)
        monkeypatch.setitem(sys.modules, "tensorrt_rtx", SimpleNamespace(__version__="1.7", ILogger=object))
        with pytest.raises(BackendUnavailableError, match="TensorRT is not installed"):
            load_vendor(TENSORRT)

    @pytest.mark.parametrize(("flavour", "version"), [(TENSORRT, "8.6.1"), (TENSORRT, "12.0.0"), (TENSORRT_RTX, "2.0.0.1")])
    def test_an_unknown_version_is_refused(self, flavour: Flavour, version: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, flavour.modules[0], SimpleNamespace(__version__=version, ILogger=object))
        with pytest.raises(BackendUnavailableError, match=f"{flavour.title} {version} is not supported, only"):
            load_vendor(flavour)

    def test_a_library_that_cannot_be_loaded_is_told(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
        (tmp_path / "tensorrt.py").write_text("raise OSError('libnvinfer.so.10: cannot open shared object file')")
        monkeypatch.syspath_prepend(tmp_path)
        with pytest.raises(BackendUnavailableError, match=r"TensorRT cannot be loaded: libnvinfer\.so\.10"):
            load_vendor(TENSORRT)
