"""Graphs for TensorRT, and the backend on a fake vendor's module and a fake device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest

from models.spec.graphs import GraphRequest
from models.spec.operators import OperatorSpec
from profiler_service.backends.backend_options import TensorRtOptions, TensorRtRtxOptions
from profiler_service.backends.base import GraphArtifact
from profiler_service.backends.device.nvml import Telemetry
from profiler_service.backends.tensorrt.backend import TensorRtBackend, TensorRtRtxBackend
from profiler_service.backends.tensorrt.vendor import TENSORRT, TENSORRT_RTX, Flavour, Vendor
from profiler_service.worker.graph_files import make_files
from profiler_service.worker.graphs import GraphCache
from tests.support.fake_device import FakeTelemetry
from tests.support.fake_tensorrt import FakeTensorRt

MakeArtifact = Callable[..., GraphArtifact]


@pytest.fixture(scope="session")
def make_artifact(tmp_path_factory: pytest.TempPathFactory) -> MakeArtifact:
    """A small convolution's files; keywords change its spec."""
    cache = GraphCache.open(tmp_path_factory.mktemp("graphs"))

    def make(**changes: Any) -> GraphArtifact:
        fields = {"kind": "conv3x3", "in_channels": 4, "out_channels": 4, "height": 6, "width": 8, **changes}
        artifact = cache.artifact(GraphRequest(subject=OperatorSpec.parse(fields)), reads_onnx=True)
        make_files(artifact, cache)
        return artifact

    return make


@pytest.fixture(scope="session")
def artifact(make_artifact: MakeArtifact) -> GraphArtifact:
    return make_artifact()


def backend_of(trt: FakeTensorRt, **options: Any) -> TensorRtBackend:
    """The backend on that module and its device."""
    return _on(TensorRtBackend, TENSORRT, trt, options)


def rtx_backend_of(trt: FakeTensorRt, **options: Any) -> TensorRtBackend:
    """The same for TensorRT-RTX."""
    return _on(TensorRtRtxBackend, TENSORRT_RTX, trt, options)


def _on(cls: type[TensorRtBackend], flavour: Flavour, trt: FakeTensorRt, options: dict[str, Any]) -> TensorRtBackend:
    record = TensorRtRtxOptions if cls is TensorRtRtxBackend else TensorRtOptions
    chosen, telemetry = record(device="cuda", **options), cast("Telemetry", FakeTelemetry(trt.device))
    return cls(chosen, vendor=Vendor(flavour, trt), device=trt.device, driver="580.65.06", telemetry=telemetry)
