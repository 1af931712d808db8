"""The system's counters of busy time, for all processes and for this one with its descendants. Linux; elsewhere they are None.

Costs 0.1 ms a reading, so that it can be taken before and after every visit.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import psutil

from profiler_service.backends.processor import usable_cores
from profiler_service.jobs.control_group import ControlGroup

_PROC = Path("/proc")

_TREE_FRESH_S = 5.0
"""How long the list of descendants stands while the direct children are the same: listing it takes a file for every thread."""


@dataclass(frozen=True)
class HostReading:
    """The counters at one instant. Seconds; None for what the system does not tell.

    Attributes:
        at_s: the instant, on a clock that only runs forward.
        cores: that this process may use. The next three concern these alone.
        busy_s: summed over cores and processes.
        stolen_s: that a hypervisor kept the cores from running.
        total_s: all time of the cores, idle or not.
        own_s: CPU time of this process and its descendants.
        throttled: times that a CPU quota stopped this process's control group.
    """

    at_s: float
    cores: int
    busy_s: float | None = None
    stolen_s: float | None = None
    total_s: float | None = None
    own_s: float | None = None
    throttled: int | None = None


class HostCounters:
    """Reads them.

    Args:
        proc: where the system tells of processes.
        pid: of the process whose descendants belong to it.
        group: its control group.
    """

    def __init__(self, proc: Path = _PROC, pid: int | None = None, group: ControlGroup | None = None) -> None:
        self._proc, self._pid = proc, os.getpid() if pid is None else pid
        self._group = ControlGroup.of_this_process() if group is None else group
        self._tick_s = 1 / os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 0.01
        self._children: frozenset[int] = frozenset()
        self._tree: tuple[int, ...] = ()
        self._listed_s = float("-inf")

    def read(self) -> HostReading:
        """The counters now."""
        at_s, cores = perf_counter(), usable_cores()
        busy_s, stolen_s, total_s = self._machine(set(cores))
        own_s = None if busy_s is None else self._own_s(at_s)
        return HostReading(at_s, len(cores), busy_s, stolen_s, total_s, own_s, self._group.throttled())

    def _machine(self, cores: set[int]) -> tuple[float, float, float] | tuple[None, None, None]:
        """Busy, stolen and total time of those cores."""
        busy = stolen = total = 0
        for line in _read(self._proc / "stat").splitlines():
            if not line.startswith("cpu"):
                break
            name, *fields = line.split()
            if name[3:].isdecimal() and int(name[3:]) in cores and len(fields) >= 8:
                user, nice, system, idle, waiting, interrupts, soft, steal = map(int, fields[:8])
                busy += user + nice + system + interrupts + soft
                stolen += steal
                total += user + nice + system + idle + waiting + interrupts + soft + steal
        if not total:
            return None, None, None
        return busy * self._tick_s, stolen * self._tick_s, total * self._tick_s

    def _own_s(self, now_s: float) -> float | None:
        """That of descendants which have ended is in their parents' counters."""
        ticks = 0
        for pid in (self._pid, *self._descendants(now_s)):
            # The name, in parentheses, may hold anything.
            fields = _read(self._proc / str(pid) / "stat").rpartition(")")[2].split()
            if len(fields) >= 15:
                ticks += sum(map(int, fields[11:15]))
            elif pid == self._pid:
                return None
        return ticks * self._tick_s

    def _descendants(self, now_s: float) -> tuple[int, ...]:
        children = self._children_of(self._pid)
        if children is None:  # a kernel that does not list them
            return tuple(child.pid for child in psutil.Process(self._pid).children(recursive=True))
        if frozenset(children) != self._children or now_s - self._listed_s > _TREE_FRESH_S:
            self._children, self._listed_s = frozenset(children), now_s
            found, waiting = [], list(children)
            while waiting:
                found.append(pid := waiting.pop())
                waiting += self._children_of(pid) or ()
            self._tree = tuple(found)
        return self._tree

    def _children_of(self, pid: int) -> list[int] | None:
        """Children of all of its threads; None where they are not listed."""
        try:
            threads = os.listdir(self._proc / str(pid) / "task")  # noqa: PTH208 - names alone, many times a second
        except OSError:
            return []
        found: list[int] = []
        for thread in threads:
            path = self._proc / str(pid) / "task" / thread / "children"
            try:
                found += map(int, path.read_text().split())
            except FileNotFoundError:
                if path.parent.exists():
                    return None
            except OSError:  # the thread has ended meanwhile
                continue
        return found


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
