"""Messages refuse what cannot be meant."""

from __future__ import annotations

import pytest

from models.spec.errors import InvalidSpecError
from models.spec.graphs import GraphRequest
from models.spec.measurements import Status
from models.spec.operators import OperatorSpec
from profiler_service.backends.base import GraphArtifact
from profiler_service.worker.protocol import Failure, GroupRequest, IsolatedRequest

GRAPH = GraphArtifact(GraphRequest(subject=OperatorSpec(kind="conv3x3", in_channels=8, out_channels=8, height=4, width=4)))


def test_a_failure_is_not_ok() -> None:
    with pytest.raises(InvalidSpecError, match="cannot have status ok"):
        Failure(Status.OK, "all is well", None)


@pytest.mark.parametrize("artifacts", [(), (GRAPH, GRAPH)])
def test_a_group_has_each_graph_once(artifacts: tuple[GraphArtifact, ...]) -> None:
    with pytest.raises(InvalidSpecError, match="each graph once"):
        GroupRequest(artifacts, GRAPH, passes=1)


@pytest.mark.parametrize("counts", [{"passes": 0}, {"passes": 1, "warmup_passes": -1}, {"passes": 1, "sentinel_every": 0}])
def test_a_group_needs_passes(counts: dict[str, int]) -> None:
    with pytest.raises(InvalidSpecError, match="a group needs passes"):
        GroupRequest((GRAPH,), GRAPH, **counts)


def test_an_engine_alone_needs_runs() -> None:
    with pytest.raises(InvalidSpecError, match="runs and runs_per_interval must be"):
        IsolatedRequest(GRAPH, runs=0)
