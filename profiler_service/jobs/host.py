"""What else the machine is doing."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from pathlib import Path

import psutil

from profiler_service.jobs.control_group import ROOT
from profiler_service.jobs.host_counters import HostCounters, HostReading
from profiler_service.measure.visits import HostState

SHORTEST_S = 0.2
"""Over less, others are not told: the counters advance in steps of 10 ms for each core, and 30 ms on a core is busy."""

_FURTHEST_BACK_S = 1.0
"""How far before its beginning a shorter interval may be looked at."""


def host_load() -> float:
    """Processes that run or wait for a core, averaged over the last minute."""
    return float(psutil.getloadavg()[0])


class HostWatch:
    """Tells what else the machine did between two instants; one interval at a time.

    One shorter than `SHORTEST_S` is told together with what was before it: short visits follow each other closely.

    Args:
        read: reads the system's counters; by default those of this machine, with all descendants of this process as its own.
        load: tells the load average.
    """

    def __init__(self, read: Callable[[], HostReading] | None = None, load: Callable[[], float] = host_load) -> None:
        self._read = HostCounters().read if read is None else read
        self._load = load
        self._earlier: deque[HostReading] = deque()
        self.begin()

    def begin(self) -> None:
        """Begin an interval."""
        self._load_before, self._before = self._load(), self._read()
        self._earlier.append(self._before)
        while self._before.at_s - self._earlier[0].at_s > _FURTHEST_BACK_S:
            self._earlier.popleft()

    def end(self) -> HostState:
        """What the machine did since `begin`. The load is that of the beginning."""
        after = self._read()
        state = host_between(self._before, after, load=self._load_before)
        longer = (reading for reading in reversed(self._earlier) if after.at_s - reading.at_s >= SHORTEST_S)
        whole = host_between(next(longer, self._before), after, load=self._load_before)
        return state.model_copy(update={"others_busy": whole.others_busy, "stolen": whole.stolen})


def host_between(before: HostReading, after: HostReading, *, load: float) -> HostState:
    """What the counters tell of the time between two readings."""
    interval_s = after.at_s - before.at_s
    told = interval_s >= SHORTEST_S and before.cores == after.cores
    busy_s, own_s = _increase(before.busy_s, after.busy_s), _increase(before.own_s, after.own_s)
    stolen_s, total_s = _increase(before.stolen_s, after.stolen_s), _increase(before.total_s, after.total_s)
    stops = _increase(before.throttled, after.throttled)
    return HostState(
        load=load,
        cores=after.cores,
        others_busy=max(busy_s - own_s, 0.0) / interval_s if told and busy_s is not None and own_s is not None else None,
        stolen=min(stolen_s / total_s, 1.0) if told and stolen_s is not None and total_s else None,
        throttled=None if stops is None else int(stops),
    )


def _increase(before: float | None, after: float | None) -> float | None:
    """None where either was not told, or where the counter fell: it then counted something else."""
    return None if before is None or after is None or after < before else after - before


def free_memory_bytes() -> int:
    """Memory that can be had without swapping: what the machine has, or what is left of the container's limit."""
    return min(int(psutil.virtual_memory().available), _container_bytes(ROOT))


def _container_bytes(cgroup: Path) -> int:
    """What a control group leaves free; more than any machine has where there is no limit. Files of its page cache can be
    dropped, and count as free.
    """
    try:
        limit = int((cgroup / "memory.max").read_text())
        used = int((cgroup / "memory.current").read_text())
        statistics = dict(line.split() for line in (cgroup / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):  # no control groups here, or the limit is `max`
        return 2**62
    return max(limit - used + int(statistics.get("inactive_file", 0)), 0)
