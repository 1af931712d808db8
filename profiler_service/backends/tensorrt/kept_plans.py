"""Plans that this process built, kept so that an engine is built once however many rounds it is timed in.

All rounds then time the same kernels, and how much builds differ is a question of its own. Plans are never kept in files:
whoever can write a file must not be able to choose what runs.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable

from profiler_service.backends.tensorrt.building import Plan

LIMIT_BYTES = 2**31
"""A large search space has a thousand graphs of about a megabyte."""


class KeptPlans:
    """The least recently used plan goes first.

    Args:
        limit_bytes: of host memory that plans may take together.
    """

    def __init__(self, limit_bytes: int = LIMIT_BYTES) -> None:
        self._limit_bytes = limit_bytes
        self._plans: OrderedDict[Hashable, Plan] = OrderedDict()
        self._bytes = 0

    def get(self, key: Hashable, build: Callable[[], Plan]) -> Plan:
        """The plan of that key, built if it is not there. What `build` raises passes through."""
        if key in self._plans:
            self._plans.move_to_end(key)
            return self._plans[key]
        plan = build()
        self._plans[key] = plan
        self._bytes += plan.nbytes
        while self._bytes > self._limit_bytes:
            _, given_up = self._plans.popitem(last=False)
            self._bytes -= given_up.nbytes
        return plan
