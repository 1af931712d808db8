"""Which engine of a group is to blame for a failure: the one search for groups that are timed and for groups that are rebuilt.

An engine that crashes, hangs or runs out of memory may take the times of its whole group with it. If the worker names the
engine, the others go on without it. Otherwise the group is halved until one engine is left. An engine that runs out of memory
may be innocent, since others held the memory: it is tried again in a smaller group.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from models.spec.measurements import Status
from profiler_service.measure.groups import Group
from profiler_service.worker.protocol import Failure


@dataclass(frozen=True)
class Division:
    """What follows from failures in a group.

    Attributes:
        culprits: failures of engines that are not tried again, each with its graph's key.
        retries: groups to be tried again.
    """

    culprits: tuple[Failure, ...] = ()
    retries: tuple[Group, ...] = ()


def divide(group: Group, failure: Failure) -> Division:
    """What follows from a visit in which no engine was timed.

    Args:
        group: what was live. At least one graph is pending.
        failure: not the sentinel's: without that no part of the group can be timed.
    """
    if failure.key in group.keys and failure.status is not Status.OUT_OF_MEMORY:
        rest = group.only(lambda member: member.key != failure.key and (member.base is None or member.base.key != failure.key))
        return Division((failure,), (rest,) if rest.pending else ())
    if len(group.pending) > 1:
        half = len(group.pending) // 2
        return Division(retries=(Group(group.pending[:half]), Group(group.pending[half:])))
    if group.padding:
        return Division(retries=(Group(group.pending),))
    return Division((replace(failure, key=group.pending[0].key),))


def single_out(group: Group, failures: Sequence[Failure]) -> Division:
    """What follows from a visit in which these engines failed and the others were timed."""
    culprits: list[Failure] = []
    retries: list[Group] = []
    for failure in {failure.key: failure for failure in failures}.values():
        crowded = failure.status is Status.OUT_OF_MEMORY and len(group.pending) > 1
        members = tuple(member for member in group.pending if crowded and member.key == failure.key)
        if members:
            retries.append(Group(members))
        else:
            culprits.append(failure)
    return Division(tuple(culprits), tuple(retries))
