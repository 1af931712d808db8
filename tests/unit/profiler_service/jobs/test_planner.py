"""From a request to graphs."""

from __future__ import annotations

import numpy as np
import pytest

from models.spaces.base import SearchSpace
from models.spaces.registry import create_space
from models.spec.graphs import ContextBase
from models.spec.measurements import ProtocolName
from models.spec.operators import OperatorSpec
from models.spec.wire import JobCreate
from profiler_service.jobs.planner import MIN_LIVE, JobPlan, plan_job, requested_workloads
from profiler_service.measure.groups import operator_bytes
from profiler_service.measure.visits import graph_key
from tests.unit.profiler_service.jobs.conftest import SPACE


@pytest.fixture
def space() -> SearchSpace:
    return create_space(SPACE)


def test_without_a_list_the_whole_grid_is_measured(space: SearchSpace) -> None:
    assert requested_workloads(JobCreate(space=SPACE), space) == space.operators()


def test_listed_workloads_are_measured_once(space: SearchSpace) -> None:
    first, second = space.operators()[:2]
    request = JobCreate(space=SPACE, workloads=(second, first, second))
    assert requested_workloads(request, space) == (second, first)


def test_operators_are_planned_in_context_each_with_its_base(space: SearchSpace) -> None:
    plan = plan_job(space.operators(), space, ProtocolName.IN_CONTEXT, finished=(), seed="")
    assert all(planned.graph.request.in_context for planned in plan.workloads)
    for planned in plan.workloads:
        assert isinstance(planned.workload, OperatorSpec)
        assert planned.base is not None
        assert planned.base.request.subject == ContextBase.of(planned.workload)
        assert planned.graph.key == graph_key(planned.workload, ProtocolName.IN_CONTEXT)
    bases = {ContextBase.of(operator).key() for operator in space.operators()}
    assert len(plan.graphs) == len(space.operators()) + len(bases)
    assert len({graph.key for graph in plan.graphs}) == len(plan.graphs)


def test_alone_there_is_neither_context_nor_base_nor_company(space: SearchSpace) -> None:
    plan = plan_job(space.operators()[:3], space, ProtocolName.ISOLATED, finished=(), seed="")
    assert [graph.request.in_context for graph in plan.graphs] == [False] * 3
    assert all(planned.base is None for planned in plan.workloads)
    assert plan.padding == ()


def test_a_network_has_no_base_and_counts_its_operators(space: SearchSpace) -> None:
    network = space.sample(np.random.default_rng(0))
    plan = plan_job([network], space, ProtocolName.IN_CONTEXT, finished=(), seed="")
    (planned,) = plan.workloads
    assert planned.is_network
    assert planned.base is None
    assert planned.operators == len(space.architecture_operators(network)) > 5
    parts = space.architecture_operators(network)
    assert planned.graph.memory_bytes > max(operator_bytes(operator, in_context=False) for operator in parts)
    assert plan.padding == ()


def test_what_is_finished_is_not_planned(space: SearchSpace) -> None:
    done = {operator.key() for operator in space.operators()[5:]}
    plan = plan_job(space.operators(), space, ProtocolName.IN_CONTEXT, finished=done, seed="")
    assert [planned.workload for planned in plan.workloads] == list(space.operators()[:5])


def test_a_small_job_is_given_company_from_the_grid(space: SearchSpace) -> None:
    few = space.operators()[:5]
    plan = plan_job(few, space, ProtocolName.IN_CONTEXT, finished=(), seed="a")
    assert len(few) + len(plan.padding) == MIN_LIVE
    own = {planned.graph.key for planned in plan.workloads}
    grid = {graph_key(operator, ProtocolName.IN_CONTEXT) for operator in space.operators()}
    assert {graph.key for graph in plan.padding} <= grid - own
    assert plan == plan_job(few, space, ProtocolName.IN_CONTEXT, finished=(), seed="a")
    assert plan.padding != plan_job(few, space, ProtocolName.IN_CONTEXT, finished=(), seed="b").padding


def _grid_plan(space: SearchSpace) -> JobPlan:
    return plan_job(space.operators(), space, ProtocolName.IN_CONTEXT, finished=(), seed="")
