"""The files of operators whose kind is somebody's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from models.spec.graphs import GraphRequest
from models.spec.measurements import Status
from models.spec.operators import OperatorSpec
from profiler_service.backends.backend_options import BackendOptions
from profiler_service.backends.base import GraphArtifact
from profiler_service.worker.graphs import GraphCache, GraphWorker
from profiler_service.worker.process import ActivityFile
from profiler_service.worker.protocol import Failure
from profiler_service.worker.timing import TimingWorker
from tests.support.own_kinds import own_kinds


@pytest.fixture(autouse=True)
def _kinds() -> Iterator[None]:
    torch.set_num_threads(1)
    with own_kinds():
        yield


def request(kind: str, dtype: Any = "float32", *, in_context: bool = True) -> GraphRequest:
    spec = OperatorSpec(kind=kind, in_channels=8, out_channels=12, height=6, width=10, dtype=dtype)
    return GraphRequest(subject=spec, in_context=in_context)


def made(folder: Path, wanted: GraphRequest, *, reads_onnx: bool = True) -> GraphArtifact | Failure:
    activity = ActivityFile.create(folder / "activity", 60)
    try:
        return GraphWorker(GraphCache.open(folder / "cache"), reads_onnx, 60)(wanted, activity)
    finally:
        activity.remove()


@pytest.mark.parametrize(
    ("kind", "backend", "by_torch"),
    [
        ("attention", "onnxruntime", False),
        ("attention", "torch", False),
        ("grouped", "onnxruntime", True),
        ("grouped", "torch", False),
    ],
)
def test_engines_compute_what_the_module_computes(tmp_path: Path, kind: str, backend: str, by_torch: bool) -> None:
    artifact = made(tmp_path, request(kind), reads_onnx=backend == "onnxruntime")
    assert isinstance(artifact, GraphArtifact)
    assert (artifact.torch_export_s is not None) == by_torch
    activity = ActivityFile.create(tmp_path / "activity", 60)
    report = TimingWorker(backend, BackendOptions(device="cpu"), 60, 60).check(artifact, activity)
    assert (report.status, report.message) == (Status.OK, "")


def test_what_torch_exports_is_kept(tmp_path: Path) -> None:
    first, again = (made(tmp_path, request("grouped")) for _ in range(2))
    assert isinstance(first, GraphArtifact)
    assert isinstance(again, GraphArtifact)
    assert first.torch_export_s is not None
    assert again.torch_export_s is None
    assert first.onnx_path == again.onnx_path


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_graphs_by_torch_are_all_in_one_dtype(tmp_path: Path, dtype: str) -> None:
    artifact = made(tmp_path, request("grouped", dtype))
    assert isinstance(artifact, GraphArtifact)
    model = onnx.load_model_from_string(artifact.onnx_bytes())
    onnx.checker.check_model(model, full_check=True)
    wanted = onnx.TensorProto.DataType.Value(dtype.upper())
    kinds = {item.data_type for item in model.graph.initializer} - {onnx.TensorProto.INT64}
    assert {*kinds, model.graph.input[0].type.tensor_type.elem_type} == {wanted}
    assert not any(item.metadata_props for item in model.graph.node), "paths of this machine"


@pytest.mark.parametrize("in_context", [False, True])
@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("random", "gives another output each time; what it computes cannot be checked"),
        ("twooutputs", "gives a tuple with 2 parts; only one tensor as output is measured"),
        ("datadependent", "but an operator of these fields gives (1, 12, 6, 10)"),
        ("endless", "gives NaN or infinite values"),
        ("branching", "control flow depend on the data"),
        ("huge", "its weights and its largest map take"),
    ],
)
def test_operators_that_cannot_be_measured(tmp_path: Path, kind: str, says: str, in_context: bool) -> None:
    failure = made(tmp_path, request(kind, in_context=in_context))
    assert isinstance(failure, Failure)
    assert failure.status is Status.BUILD_ERROR
    assert says in failure.message
    assert "\n" not in failure.message


def test_weights_are_the_same_in_every_process(tmp_path: Path) -> None:
    outputs = []
    for folder in ("a", "b"):
        torch.manual_seed(len(outputs))
        (tmp_path / folder).mkdir()
        artifact = made(tmp_path / folder, request("grouped"), reads_onnx=False)
        assert isinstance(artifact, GraphArtifact)
        assert artifact.reference_path is not None
        outputs.append(np.load(artifact.reference_path))
    np.testing.assert_array_equal(*outputs)
