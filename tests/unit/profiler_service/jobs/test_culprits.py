"""What follows from a failure in a group, whether its engines are timed or rebuilt."""

from __future__ import annotations

import pytest

from models.spec.measurements import Status
from profiler_service.jobs.culprits import Division, divide, single_out
from profiler_service.measure.groups import Group, Member
from profiler_service.worker.protocol import Failure

BASE = Member("base", 1)
A, B, C, D = (Member(key, 1) for key in "abcd")
NEEDY = Member("needy", 1, BASE)


def _failed(status: Status, key: str | None) -> Failure:
    return Failure(status, "no", key)


def test_others_go_on_without_an_engine_that_is_named() -> None:
    crash = _failed(Status.CRASHED, "b")
    assert divide(Group((A, B, C)), crash) == Division((crash,), (Group((A, C)),))
    assert divide(Group((B,)), crash) == Division((crash,))


def test_what_needs_a_base_that_failed_goes_with_it() -> None:
    crash = _failed(Status.CRASHED, "base")
    assert divide(Group((A, NEEDY)), crash) == Division((crash,), (Group((A,)),))


@pytest.mark.parametrize("failure", [_failed(Status.CRASHED, None), _failed(Status.OUT_OF_MEMORY, "a")])
def test_a_group_is_halved_where_nobody_can_be_blamed(failure: Failure) -> None:
    assert divide(Group((A, B, C, D), (BASE,)), failure) == Division(retries=(Group((A, B)), Group((C, D))))
    assert divide(Group((A,), (B,)), failure) == Division(retries=(Group((A,)),))
    (culprit,) = divide(Group((A,)), failure).culprits
    assert (culprit.key, culprit.status) == ("a", failure.status)


def test_an_engine_without_memory_beside_others_is_tried_by_itself() -> None:
    crowded, broken = _failed(Status.OUT_OF_MEMORY, "a"), _failed(Status.RUN_ERROR, "b")
    assert single_out(Group((A, B, C)), [crowded, crowded, broken]) == Division((broken,), (Group((A,)),))
    assert single_out(Group((A,), (B,)), [crowded]) == Division((crowded,))


def test_a_base_without_memory_beside_others_is_tried_with_fewer_of_those_that_need_it() -> None:
    alike = tuple(Member(key, 1, BASE) for key in "xyz")
    crowded = _failed(Status.OUT_OF_MEMORY, "base")
    assert single_out(Group((A, *alike)), [crowded]) == Division(retries=(Group(alike),))
    assert single_out(Group(alike), [crowded]) == Division(retries=(Group(alike[:1]), Group(alike[1:])))
    assert single_out(Group((A, *alike)), [_failed(Status.OUT_OF_MEMORY, "x"), crowded]) == Division(
        retries=(Group(alike[:1]), Group(alike[1:]))
    )
    assert single_out(Group(alike[:1], (A,)), [crowded]) == Division(retries=(Group(alike[:1]),))
    (culprit,) = single_out(Group(alike[:1]), [crowded]).culprits
    assert culprit.key == "x", "others that need it may do with less"
