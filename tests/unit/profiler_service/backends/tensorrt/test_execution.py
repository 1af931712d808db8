"""How engines run: what is called on the device, in which order, and what is left when something fails."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.spec.errors import InvalidSpecError
from models.spec.operators import Dtype
from profiler_service.backends.base import GraphArtifact, seeded_input
from profiler_service.errors import BackendError, BackendUnavailableError, BuildError, DeviceMemoryError, RunError
from tests.support import fake_tensorrt
from tests.support.fake_device import CAPTURING_STREAM, HOPPER, STREAM, FakeDevice
from tests.support.fake_tensorrt import FAILURES, RAISES, RTX_FAILURES, RUN_MS, FakeTensorRt
from tests.unit.profiler_service.backends.tensorrt.conftest import MakeArtifact, backend_of, rtx_backend_of


@pytest.fixture
def trt() -> FakeTensorRt:
    return FakeTensorRt(FakeDevice())


def test_two_plain_runs_then_a_capture_that_is_seen_to_write_its_output(trt: FakeTensorRt, artifact: GraphArtifact) -> None:
    backend_of(trt).build(artifact)
    nbytes = 4 * 4 * 6 * 8
    plain_run = [f"submit {STREAM}", "synchronize"]
    capture = ["begin capture", f"submit {CAPTURING_STREAM}", "end capture"]
    assert trt.device.calls == [
        *[f"allocate {nbytes}"] * 2,
        "upload",
        *plain_run * 2,
        *capture,
        *["fill", "launch", "download"],
    ]


def test_a_run_is_one_replay_and_finished_when_it_returns(trt: FakeTensorRt, artifact: GraphArtifact) -> None:
    engine = backend_of(trt).build(artifact)
    trt.device.calls.clear()
    engine.run()
    assert trt.device.calls == ["launch", "synchronize"]


def test_a_pass_replays_every_engine_as_often_as_it_stands_there(trt: FakeTensorRt, make_artifact: MakeArtifact) -> None:
    backend = backend_of(trt)
    one, other = backend.build(make_artifact()), backend.build(make_artifact(height=7))
    trt.device.calls.clear()
    assert backend.time_pass([one, other, one, one, other]) == [RUN_MS] * 5
    assert trt.device.calls == ["sleep", "event", *["event", "launch", "event"] * 5, "synchronize"]


@pytest.mark.parametrize(("dtype", "exactness"), [("float32", 0.0), ("float16", 1e-3), ("bfloat16", 1e-2)])
def test_converts_to_the_dtype_and_back(trt: FakeTensorRt, make_artifact: MakeArtifact, dtype: Dtype, exactness: float) -> None:
    artifact = make_artifact(dtype=dtype)
    engine = backend_of(trt).build(artifact)
    array = seeded_input(artifact.request)
    output = engine.infer(array)
    assert output.dtype == np.float32
    np.testing.assert_allclose(output, 2 * array, rtol=exactness)
    assert exactness == 0.0 or not np.array_equal(output, 2 * array), "computed in float32?"


def test_the_seeded_input_is_back_after_another_one(trt: FakeTensorRt, artifact: GraphArtifact) -> None:
    engine = backend_of(trt).build(artifact)
    (address, *_) = trt.device.memory
    seeded = trt.device.array(address).copy()
    assert seeded.any()
    engine.infer(np.ones(artifact.request.input_shape, np.float32))
    np.testing.assert_array_equal(trt.device.array(address), seeded)


def test_refuses_inputs_of_another_shape(trt: FakeTensorRt, artifact: GraphArtifact) -> None:
    engine = backend_of(trt).build(artifact)
    with pytest.raises(RunError, match=r"must be \(1, 4, 6, 8\), not \(1, 4, 8, 6\)"):
        engine.infer(np.zeros((1, 4, 8, 6), np.float32))


def test_a_closed_engine_has_given_everything_back(trt: FakeTensorRt, artifact: GraphArtifact) -> None:
    backend = backend_of(trt)
    engine = backend.build(artifact)
    assert (len(trt.device.memory), trt.device.graphs, len(trt.contexts)) == (2, 1, 1)
    engine.close()
    engine.close()
    assert (len(trt.device.memory), trt.device.graphs, len(trt.contexts)) == (0, 0, 0)
    for call in (engine.run, engine.enqueue, lambda: engine.infer(seeded_input(artifact.request))):
        with pytest.raises(RunError, match="closed"):
            call()
    backend.close()
    assert trt.device.closed


@pytest.mark.parametrize("failing", [name for name in FAILURES if name not in ("Builder", "Runtime")])
def test_every_failure_of_the_vendors_is_an_error_that_leaves_nothing_behind(
    trt: FakeTensorRt, artifact: GraphArtifact, failing: str
) -> None:
    backend = backend_of(trt)
    trt.failing = failing
    with pytest.raises(BackendError) as caught:
        backend.build(artifact)
    assert type(caught.value) is (RunError if failing == "execute_async_v3" else BuildError)
    assert caught.value.message.startswith("TensorRT 10.13.3.9 ")
    if failing not in (*RAISES, "parse"):
        assert trt.reason in caught.value.message
    assert (len(trt.device.memory), trt.device.graphs) == (0, 0)
    trt.failing = None
    backend.build(artifact).run()


@pytest.mark.parametrize("failing", FAILURES)
def test_every_function_of_the_vendors_that_raises_is_an_error_of_ours(artifact: GraphArtifact, failing: str) -> None:
    trt = FakeTensorRt(FakeDevice(), failing=failing, raising=True)
    with pytest.raises(BackendError) as caught:
        backend_of(trt).build(artifact)
    expected = {"execute_async_v3": RunError, "Builder": BackendUnavailableError, "Runtime": BackendUnavailableError}
    assert type(caught.value) is expected.get(failing, BuildError)
    assert "something broke" in caught.value.message
    assert (len(trt.device.memory), trt.device.graphs) == (0, 0)


@pytest.mark.parametrize("failing", RTX_FAILURES)
def test_rtx_that_does_not_build_for_the_gpu_says_for_which(failing: str) -> None:
    trt = FakeTensorRt(FakeDevice(replace(HOPPER, compute_capability=(8, 6))), version="1.7.1.116")
    rtx_backend_of(trt)
    trt.failing = failing
    with pytest.raises(
        BackendUnavailableError, match=r"TensorRT-RTX 1\.7\.1\.116 does not build for compute capability 8\.6: .*broke"
    ):
        rtx_backend_of(trt)


@pytest.mark.parametrize("failing", ["deserialize_cuda_engine", "create_execution_context", "execute_async_v3"])
def test_rtx_on_a_gpu_that_refuses_its_engines_is_unavailable_and_not_broken(failing: str) -> None:
    trt = FakeTensorRt(FakeDevice(), version="1.7.1.116", failing=failing, reason="Unsupported SM: 0x900")
    with pytest.raises(BackendUnavailableError, match=r"runs nothing on Fake H200 .*9\.0.*Unsupported SM") as caught:
        rtx_backend_of(trt)
    assert "use backend tensorrt" in caught.value.hint
    assert (len(trt.device.memory), trt.device.graphs) == (0, 0)


def test_a_vendor_that_cannot_tell_whether_a_capture_will_do_is_not_asked(
    trt: FakeTensorRt, artifact: GraphArtifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(fake_tensorrt._Context, "is_stream_capturable")
    backend_of(trt).build(artifact).run()


def test_an_engine_that_describes_itself_as_nothing_is_refused(trt: FakeTensorRt, artifact: GraphArtifact) -> None:
    trt.layers = " "
    with pytest.raises(BuildError, match="does not describe its engine: it says nothing"):
        backend_of(trt).build(artifact)


@pytest.mark.parametrize("failing", ["Builder", "Runtime"])
def test_a_vendor_that_does_not_start_is_unavailable(trt: FakeTensorRt, failing: str) -> None:
    trt.failing = failing
    with pytest.raises(BackendUnavailableError, match="makes no"):
        backend_of(trt)


def test_all_of_the_parsers_errors_are_told(trt: FakeTensorRt, artifact: GraphArtifact) -> None:
    trt.failing = "parse"
    with pytest.raises(BuildError) as caught:
        backend_of(trt).build(artifact)
    assert "INVALID_NODE at Resize resize: Resize is beyond us" in caught.value.message
    assert "UNSUPPORTED_NODE at Conv conv1: Conv is beyond us" in caught.value.message


@pytest.mark.parametrize("failing", ["build_serialized_network", "create_execution_context", "execute_async_v3"])
def test_memory_that_runs_out_is_told_apart(artifact: GraphArtifact, failing: str) -> None:
    trt = FakeTensorRt(FakeDevice(), reason="[allocator.cpp] Error Code 2: OutOfMemory (Requested size was 17 bytes.)")
    backend = backend_of(trt)
    trt.failing = failing
    with pytest.raises(DeviceMemoryError, match="17 bytes"):
        backend.build(artifact)
    assert trt.device.memory == {}


def test_a_device_without_room_for_both_tensors_gets_the_first_back(artifact: GraphArtifact) -> None:
    trt = FakeTensorRt(FakeDevice(memory_bytes=1000))
    with pytest.raises(DeviceMemoryError):
        backend_of(trt).build(artifact)
    assert trt.device.memory == {}


def test_an_empty_graph_is_an_error(artifact: GraphArtifact) -> None:
    trt = FakeTensorRt(FakeDevice(), records_nothing=True)
    with pytest.raises(BuildError, match="captured CUDA graph is empty"):
        backend_of(trt).build(artifact)
    assert (len(trt.device.memory), trt.device.graphs) == (0, 0)


def test_an_engine_of_another_dtype_than_the_graphs_is_refused(trt: FakeTensorRt, make_artifact: MakeArtifact) -> None:
    half, single = make_artifact(dtype="float16"), make_artifact()
    with pytest.raises(BuildError, match=r"DataType\.FLOAT in the engine, not .*HALF"):
        backend_of(trt).build(replace(half, onnx_path=single.onnx_path))


def test_an_engine_of_another_shape_than_the_graphs_is_refused(trt: FakeTensorRt, make_artifact: MakeArtifact) -> None:
    one, other = make_artifact(), make_artifact(height=12)
    with pytest.raises(BuildError, match=r"\(1, 4, 12, 8\) in the engine, not \(1, 4, 6, 8\)"):
        backend_of(trt).build(replace(one, onnx_path=other.onnx_path))


@pytest.mark.parametrize("shape", [(), (1, -1, 6, 8)])
def test_an_output_of_no_known_size_is_given_no_memory(
    trt: FakeTensorRt, artifact: GraphArtifact, shape: tuple[int, ...]
) -> None:
    trt.output_shape = shape
    with pytest.raises(BuildError, match=f"does not report the shape of output: it says {re.escape(str(shape))}"):
        backend_of(trt).build(artifact)
    assert not any(call.startswith("allocate") for call in trt.device.calls)


def test_gpus_before_ampere_have_neither_tf32_nor_bfloat16(make_artifact: MakeArtifact) -> None:
    turing = FakeTensorRt(FakeDevice(replace(HOPPER, name="Fake T4", compute_capability=(7, 5))))
    with pytest.raises(InvalidSpecError, match="Fake T4 has no TF32"):
        backend_of(turing, tf32=True)
    with pytest.raises(InvalidSpecError, match="'tensorrt' does not compute in bfloat16, only in float32, float16"):
        backend_of(turing).build(make_artifact(dtype="bfloat16"))


def test_what_the_engine_became_is_kept(trt: FakeTensorRt, artifact: GraphArtifact, tmp_path: Path) -> None:
    engine = backend_of(trt, cache_dir=tmp_path).build(artifact)
    assert '"TacticName": "fake"' in engine.layers
    (kept,) = tmp_path.glob(f"{artifact.request.key()}-*.layers.json")
    document = json.loads(kept.read_text())
    assert document["engine"] == json.loads(engine.layers)
    assert (document["graph"], document["workload"]) == (artifact.request.label(), artifact.request.subject.key())
    assert document["target"]["backend"] == "tensorrt"
    assert engine.engine_bytes == 1000
    assert engine.peak_memory_bytes == 500 + 2 * 4 * 4 * 6 * 8
