"""A job says which kinds torch's exporter had to write."""

from __future__ import annotations

from unittest.mock import MagicMock

from models.spec.graphs import GraphRequest
from models.spec.measurements import Status
from models.spec.operators import OperatorSpec
from profiler_service.backends.base import GraphArtifact
from profiler_service.jobs.building import build_graphs
from profiler_service.jobs.reporting import PhaseSeconds
from profiler_service.worker.protocol import BuildReport


def test_each_kind_is_named_once() -> None:
    sizes = [("conv3x3", 4, 0.83), ("conv3x3", 8, 0.7), ("skip", 4, 1.2), ("conv3x3_x2", 4, None)]
    seconds = {
        GraphRequest(subject=OperatorSpec(kind=kind, in_channels=4, out_channels=4, height=side, width=4)): taken
        for kind, side, taken in sizes
    }
    job = MagicMock(seconds=PhaseSeconds())
    job.stopped.return_value = False
    job.workers.prepare = lambda requests: ((r, GraphArtifact(r, torch_export_s=seconds.get(r))) for r in requests)
    job.workers.check = lambda artifacts: (BuildReport(artifact.request.key(), Status.OK) for artifact in artifacts)
    build_graphs(job, list(seconds))
    first, *told = sorted(call.args[0] for call in job.reporter.phase.call_args_list)
    assert first == "building"
    assert len(told) == 2
    assert told[0].startswith("building; kind conv3x3: exported by torch.onnx, 0.")
    assert told[1] == "building; kind skip: exported by torch.onnx, 1.2 s a graph"
