"""What else the machine is doing: the control group that bounds this process, the counters of busy time, and what they say
about the time between two instants. Linux; elsewhere the counters are None.

A reading costs 0.1 ms, so that it can be taken before and after every visit.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Self

import psutil

from profiler_service.backends.processor import usable_cores
from profiler_service.measure.visits import HostState

ROOT = Path("/sys/fs/cgroup")
_MEMBERSHIP = Path("/proc/self/cgroup")


@dataclass(frozen=True)
class ControlGroup:
    """Every group around the process may have a quota of its own.

    Attributes:
        folders: of the CPU controller, the innermost group first; none where there are no control groups.
    """

    folders: tuple[Path, ...]

    @classmethod
    def of_this_process(cls, root: Path = ROOT, membership: Path = _MEMBERSHIP) -> Self:
        """The group that the system names; a container that does not see the names of its groups sees its own as the root."""
        base, path = _cpu_controller(root, _lines(membership))
        within = base / path.lstrip("/")
        if not within.is_dir():
            within = base
        return cls(tuple(folder for folder in (within, *within.parents) if folder.is_relative_to(base) and folder.is_dir()))

    def quota_cores(self) -> float | None:
        """How many cores' worth of time the process may use; None for no bound, and where the system does not report it."""
        return min((cores for folder in self.folders if (cores := _quota(folder)) is not None), default=None)

    def throttled(self) -> int | None:
        """How often a quota has stopped the group's processes so far; None where the system does not report it."""
        found = [count for folder in self.folders if (count := _stops(folder)) is not None]
        return sum(found) if found else None


def _cpu_controller(root: Path, membership: list[str]) -> tuple[Path, str]:
    """Where the groups of the CPU controller are, and the path of this process's group below it."""
    groups = [line.split(":", 2) for line in membership if line.count(":") >= 2]
    for _, controllers, path in groups:
        if "cpu" in controllers.split(","):
            return next((found for found in (root / controllers, root / "cpu") if found.is_dir()), root / "cpu"), path
    return root, next((path for _, controllers, path in groups if not controllers), "/")


def _quota(folder: Path) -> float | None:
    for name, period_name in (("cpu.max", ""), ("cpu.cfs_quota_us", "cpu.cfs_period_us")):
        words = [*_words(folder / name), *(_words(folder / period_name) if period_name else ())]
        if len(words) == 2 and all(word.isdecimal() for word in words) and int(words[1]) > 0:
            return int(words[0]) / int(words[1])
    return None  # `max`, -1, or no such file


def _stops(folder: Path) -> int | None:
    for line in _lines(folder / "cpu.stat"):
        name, _, count = line.partition(" ")
        if name == "nr_throttled" and count.isdecimal():
            return int(count)
    return None


def _words(path: Path) -> Iterator[str]:
    for line in _lines(path):
        yield from line.split()


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []


_PROC = Path("/proc")

_TREE_FRESH_S = 5.0
"""How long the list of descendants stands while the direct children are the same: listing it takes a file for every thread."""


@dataclass(frozen=True)
class HostReading:
    """The counters at one instant. Seconds; None for what the system does not report.

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
        proc: where the system lists processes.
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


SHORTEST_S = 0.2
"""Over less, other work is not reported: the counters advance in steps of 10 ms for each core, and 30 ms on a core is busy."""

_FURTHEST_BACK_S = 1.0
"""How far before its beginning a shorter interval may be looked at."""


def host_load() -> float:
    """Processes that run or wait for a core, averaged over the last minute."""
    return float(psutil.getloadavg()[0])


class HostWatch:
    """Tells what else the machine did between two instants; one interval at a time.

    One shorter than `SHORTEST_S` is reported together with what was before it: short visits follow each other closely.

    Args:
        read: reads the system's counters; by default those of this machine, with all descendants of this process as its own.
        load: reads the load average.
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
        extended = host_between(next(longer, self._before), after, load=self._load_before)
        return state.model_copy(update={"others_busy": extended.others_busy, "stolen": extended.stolen})


def host_between(before: HostReading, after: HostReading, *, load: float) -> HostState:
    """What the counters say about the time between two readings."""
    interval_s = after.at_s - before.at_s
    long_enough = interval_s >= SHORTEST_S and before.cores == after.cores
    busy_s, own_s = _increase(before.busy_s, after.busy_s), _increase(before.own_s, after.own_s)
    stolen_s, total_s = _increase(before.stolen_s, after.stolen_s), _increase(before.total_s, after.total_s)
    stops = _increase(before.throttled, after.throttled)
    return HostState(
        load=load,
        cores=after.cores,
        others_busy=max(busy_s - own_s, 0.0) / interval_s if long_enough and busy_s is not None and own_s is not None else None,
        stolen=min(stolen_s / total_s, 1.0) if long_enough and stolen_s is not None and total_s else None,
        throttled=None if stops is None else int(stops),
    )


def _increase(before: float | None, after: float | None) -> float | None:
    """None where either was not reported, or where the counter fell: it then counted something else."""
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
