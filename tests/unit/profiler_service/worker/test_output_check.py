"""Correct or wrong output."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.spec.graphs import GraphRequest
from models.spec.measurements import Status
from models.spec.operators import Dtype, OperatorSpec
from profiler_service.backends.backend_options import BackendOptions, TensorRtOptions
from profiler_service.backends.base import Engine, FloatArray, GraphArtifact
from profiler_service.worker.output_check import TOLERANCES, change_problem, output_problem, tolerance
from profiler_service.worker.process import ActivityFile
from profiler_service.worker.timing import TimingWorker

REFERENCE = np.random.default_rng(0).standard_normal((1, 8, 4, 4), dtype=np.float32)


def test_states_the_relative_l2_error() -> None:
    error, problem = output_problem(REFERENCE * np.float32(1.00001), REFERENCE, "float32")
    assert problem == ""
    assert error == pytest.approx(1e-5, rel=0.05)


@pytest.mark.parametrize("dtype", list(TOLERANCES))
def test_allows_what_the_dtype_rounds_and_no_more(dtype: Dtype) -> None:
    limit = TOLERANCES[dtype]
    assert output_problem(REFERENCE * np.float32(1 + 0.9 * limit), REFERENCE, dtype)[1] == ""
    error, problem = output_problem(REFERENCE * np.float32(1 + 1.1 * limit), REFERENCE, dtype)
    assert error is not None
    assert f"{dtype} allows {limit:g}" in problem


def test_tf32_allows_float32_what_its_ten_bits_round_and_no_other_dtype_anything() -> None:
    off = REFERENCE * np.float32(1 + 5e-4)
    assert output_problem(off, REFERENCE, "float32")[1]
    assert output_problem(off, REFERENCE, "float32", tf32=True) == (pytest.approx(5e-4, rel=0.05), "")
    assert "float32 in TF32 allows 0.01" in output_problem(REFERENCE * np.float32(1.011), REFERENCE, "float32", tf32=True)[1]
    assert [tolerance(dtype, tf32=True) for dtype in ("float16", "bfloat16")] == [1e-2, 5e-2]


class _Off(Engine):
    """Computes what TF32 would: the reference, half a thousandth off."""

    def run(self) -> None:
        raise AssertionError("nothing is timed here")

    def infer(self, array: FloatArray) -> FloatArray:
        return REFERENCE * np.float32(1 + 5e-4)

    def close(self) -> None:
        pass


class _Backend:
    def __init__(self, name: str, options: BackendOptions) -> None:
        pass

    def build(self, artifact: GraphArtifact) -> Engine:
        return _Off()


@pytest.mark.parametrize(("tf32", "status"), [(True, Status.OK), (False, Status.WRONG_OUTPUT)])
def test_a_worker_holds_float32_to_what_its_options_allow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tf32: bool, status: Status
) -> None:
    monkeypatch.setattr("profiler_service.worker.timing._backend", _Backend)
    np.save(tmp_path / "reference.npy", REFERENCE)
    operator = OperatorSpec(kind="conv3x3", in_channels=8, out_channels=8, height=4, width=4)
    artifact = GraphArtifact(GraphRequest(subject=operator), reference_path=tmp_path / "reference.npy")
    worker = TimingWorker("tensorrt", TensorRtOptions(device="cuda", tf32=tf32), build_timeout_s=1, run_timeout_s=1)
    assert worker.check(artifact, ActivityFile.create(tmp_path / "activity", 1.0)).status is status


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_one_value_that_is_not_finite_is_wrong(value: float) -> None:
    output = REFERENCE.copy()
    output[0, 3, 2, 1] = value
    error, problem = output_problem(output, REFERENCE, "bfloat16")
    assert error is None
    assert "NaN or infinite" in problem


def test_another_shape_is_wrong_and_both_are_named() -> None:
    _, problem = output_problem(REFERENCE[:, :, :2], REFERENCE, "float32")
    assert problem == "the output has shape (1, 8, 2, 4), the torch module's (1, 8, 4, 4)"


def test_nothing_but_zeros_equals_zeros() -> None:
    zeros = np.zeros_like(REFERENCE)
    assert output_problem(zeros, zeros, "float32") == (0.0, "")
    assert output_problem(REFERENCE, zeros, "float32")[1]


def test_a_second_run_may_add_up_in_another_order_and_no_more() -> None:
    output = np.linspace(-1, 1, 50, dtype=np.float32).reshape(1, 2, 5, 5)
    assert change_problem(output, output * np.float32(1 + 1e-6), "float32") == ""
    for again in (output + 0.01, output[:, :1], output * np.float32(np.nan)):
        assert "gives another output each time" in change_problem(output, again, "float32")
