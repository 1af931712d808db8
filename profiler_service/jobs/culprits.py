"""Which engine of a group is to blame for a failure: the one search for groups that are timed and for groups that are rebuilt.

An engine that crashes, hangs or runs out of memory may take the times of its whole group with it. If the worker names the
engine, the others go on without it. Otherwise the group is halved until one engine is left. An engine that runs out of memory
may be innocent, since others held the memory: it is tried again in a smaller group.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from models.spec.measurements import Status
from profiler_service.measure.groups import Group, Member
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
        rest = group.only(lambda member: not member.needs(failure.key))
        return Division((failure,), (rest,) if rest.pending else ())
    if len(group.pending) > 1:
        return Division(retries=_halves(group.pending))
    if group.padding:
        return Division(retries=(Group(group.pending),))
    return Division((replace(failure, key=group.pending[0].key),))


def single_out(group: Group, failures: Sequence[Failure]) -> Division:
    """What follows from a visit in which these engines failed and the others were timed.

    A base that found no memory beside others is tried again with those that need it; where these are the whole group, with half
    of them at a time. Beside one of them alone it is that one which is to blame: others may do with less.
    """
    culprits: list[Failure] = []
    retries: dict[Member, Group] = {}
    for failure in {failure.key: failure for failure in failures}.values():
        is_base = failure.key in {member.key for member in group.bases}
        members = tuple(member for member in group.pending if member.needs(failure.key))
        crowded = len(group.pending) > 1 or (is_base and group.padding)
        if failure.status is not Status.OUT_OF_MEMORY or not members:
            culprits.append(failure)
        elif crowded:
            again = tuple(member for member in members if member not in retries)
            parts = _halves(again) if len(again) == len(group.pending) else (Group(again),)
            retries |= {member: part for part in parts for member in part.pending}
        else:
            culprits.append(replace(failure, key=members[0].key))
    return Division(tuple(culprits), tuple(dict.fromkeys(retries.values())))


def _halves(members: tuple[Member, ...]) -> tuple[Group, ...]:
    half = len(members) // 2
    return Group(members[:half]), Group(members[half:])
