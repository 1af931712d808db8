"""ONNX Runtime's engines where memory runs out; what they compute is tested with all backends."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")

from models.spec.graphs import GraphRequest
from models.spec.operators import OperatorSpec
from profiler_service.backends import onnxruntime_cpu
from profiler_service.backends.backend_options import BackendOptions
from profiler_service.errors import BuildError, DeviceMemoryError
from profiler_service.worker.graph_files import make_files
from profiler_service.worker.graphs import GraphCache

REQUEST = GraphRequest(subject=OperatorSpec(kind="conv3x3", in_channels=8, out_channels=8, height=8, width=8), in_context=True)


def test_recurrences_are_run_step_by_step_and_the_target_says_so(tmp_path: Path) -> None:
    backend, cache = onnxruntime_cpu.OnnxRuntimeBackend(BackendOptions()), GraphCache.open(tmp_path)
    recurrence = OperatorSpec(kind="irnn", in_channels=4, out_channels=4, height=4, width=6)
    artifact = cache.artifact(GraphRequest(subject=recurrence), reads_onnx=True, unrolled=backend.unrolls)
    make_files(artifact, cache)
    operations = [node.op_type for node in onnx.load_from_string(artifact.onnx_bytes()).graph.node]
    assert operations.count("Add") == 2 * 3 + 2 * 5
    assert "Max" not in operations
    assert backend.target().options["recurrences"] == "unrolled"


@pytest.mark.parametrize(
    ("error", "translated"),
    [
        (RuntimeError("Failed to allocate memory for requested buffer of size 8192"), DeviceMemoryError),
        (MemoryError(), DeviceMemoryError),
        (RuntimeError("unsupported type"), BuildError),
    ],
)
def test_preallocated_memory_that_is_not_to_be_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, translated: type[Exception]
) -> None:
    def refuse(*_: object) -> None:
        raise error

    cache = GraphCache.open(tmp_path)
    artifact = cache.artifact(REQUEST, reads_onnx=True)
    make_files(artifact, cache)
    backend = onnxruntime_cpu.OnnxRuntimeBackend(BackendOptions())
    monkeypatch.setattr(onnxruntime_cpu.onnxruntime.OrtValue, "ortvalue_from_shape_and_type", refuse)
    with pytest.raises(translated):
        backend.build(artifact)
