"""Messages refuse what cannot be meant."""

from __future__ import annotations

import pytest

from models.spec.errors import InvalidSpecError
from models.spec.graphs import GraphRequest
from models.spec.measurements import Status
from models.spec.operators import OperatorSpec
from profiler_service.backends.base import GraphArtifact
from profiler_service.worker.protocol import Failure, Isolated, RoundRobin, TimingRequest

GRAPH = GraphArtifact(GraphRequest(subject=OperatorSpec(kind="conv3x3", in_channels=8, out_channels=8, height=4, width=4)))


def test_a_failure_is_not_ok() -> None:
    with pytest.raises(InvalidSpecError, match="cannot have status ok"):
        Failure(Status.OK, "all is well", None)


@pytest.mark.parametrize("artifacts", [(), (GRAPH, GRAPH)])
def test_a_group_has_each_graph_once(artifacts: tuple[GraphArtifact, ...]) -> None:
    with pytest.raises(InvalidSpecError, match="each graph once"):
        TimingRequest(artifacts, RoundRobin(GRAPH), passes=1)


@pytest.mark.parametrize("mode", [RoundRobin(GRAPH), Isolated()])
@pytest.mark.parametrize("counts", [{"passes": 0}, {"passes": 1, "warmup_passes": -1}])
def test_timing_needs_passes(mode: RoundRobin | Isolated, counts: dict[str, int]) -> None:
    with pytest.raises(InvalidSpecError, match="timing needs passes"):
        TimingRequest((GRAPH,), mode, **counts)


def test_the_sentinel_runs_in_every_pass() -> None:
    with pytest.raises(InvalidSpecError, match="needs sentinel_every"):
        RoundRobin(GRAPH, sentinel_every=0)


def test_an_interval_needs_runs() -> None:
    with pytest.raises(InvalidSpecError, match="needs runs_per_interval"):
        Isolated(runs_per_interval=0)


def test_isolated_engines_are_timed_one_by_one() -> None:
    other = GraphArtifact(GRAPH.request.model_copy(update={"in_context": True}))
    with pytest.raises(InvalidSpecError, match="one engine is timed by itself, not 2"):
        TimingRequest((GRAPH, other), Isolated(), passes=1)
