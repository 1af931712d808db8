"""Conditions on this machine before a measurement: whether it is quiet, and what limits this process."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import psutil

from models.spec.base import Record
from profiler_service.backends.processor import usable_cores
from profiler_service.jobs.host import ControlGroup, HostWatch
from profiler_service.measure.visits import HostState

LOOK_S = 0.5
"""How long the machine is looked at."""

GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
STEADY_GOVERNOR = "performance"
"""The one that leaves the clock where it is."""

_NEIGHBOURS_NAMED = 3
_LEAST_NEIGHBOUR = 0.05
"""Cores; what takes less is not worth naming."""


class CpuBounds(Record):
    """What of the machine's processor this process may use.

    Attributes:
        machine_cores: number of cores of the machine.
        usable: numbers of the cores that this process may run on.
        quota_cores: how many cores' worth of time its control group may use; None for no bound.
        governor: that decides the clock; None where that is not visible, as in most containers and guests.
    """

    machine_cores: int
    usable: tuple[int, ...]
    quota_cores: float | None = None
    governor: str | None = None

    @property
    def cpuset(self) -> str:
        """The usable cores as `0-3,6`; empty if these are all."""
        return "" if len(self.usable) >= self.machine_cores else _ranges(self.usable)

    def provenance(self) -> dict[str, str]:
        """What a table keeps of them."""
        quota = "" if self.quota_cores is None else f"{self.quota_cores:g} cores"
        cpuset = f"{self.cpuset} of {self.machine_cores} cores" if self.cpuset else ""
        known = {"cpu_quota": quota, "cpuset": cpuset, "governor": self.governor or ""}
        return {name: text for name, text in known.items() if text}

    def quota_problem(self, threads: int) -> str:
        """What the quota does to engines of that many threads; empty for nothing."""
        if self.quota_cores is None or self.quota_cores >= threads + 1:
            return ""
        worth = f"the CPU quota is worth {self.quota_cores:g} cores"
        if self.quota_cores < threads:
            return f"{worth}, an engine has {threads} threads: it is stopped again and again while it is timed"
        return f"{worth}, of which an engine of {threads} threads leaves less than one to the rest of the job"


class Neighbour(Record):
    """Another process, and how many cores it used."""

    name: str
    pid: int
    cores: float


class Conditions(Record):
    """What the machine was like while it was looked at.

    Attributes:
        host: what else it did.
        bounds: what this process may use of it.
        neighbours: the busiest of the other processes that can be seen from here, the busiest first.
    """

    host: HostState
    bounds: CpuBounds
    neighbours: tuple[Neighbour, ...] = ()

    @property
    def busy(self) -> str:
        """What disturbs measuring on a processor, and which processes; empty where the machine is quiet or nothing is known."""
        if not self.host.busy or not self.neighbours:
            return self.host.busy
        who = ", ".join(f"{neighbour.name} {neighbour.pid}: {neighbour.cores:.1f}" for neighbour in self.neighbours)
        return f"{self.host.busy} ({who})"

    def lines(self) -> list[str]:
        """All of it, for people."""
        host, bounds = self.host, self.bounds
        found = [
            f"load: {host.load:.2f} processes ran or waited in the last minute",
            f"cores: {len(bounds.usable)} usable" + (f", {bounds.cpuset} of {bounds.machine_cores}" if bounds.cpuset else ""),
            f"other work: {'unknown' if host.others_busy is None else f'{host.others_busy:.1f} cores'}",
        ]
        if host.stolen:
            found.append(f"taken by the hypervisor: {host.stolen:.1%} of the time")
        if bounds.quota_cores is not None:
            found.append(f"CPU quota: {bounds.quota_cores:g} cores")
        if bounds.governor is not None:
            found.append(f"CPU governor: {bounds.governor}")
        return found

    def warnings(self, threads: int) -> list[str]:
        """What will spoil times that are taken on the processor, each with the next step.

        Args:
            threads: of an engine.
        """
        found = []
        if problem := self.bounds.quota_problem(threads):
            found.append(f"{problem}; raise the quota to {threads + 1} cores or more")
        if self.bounds.governor not in (None, STEADY_GOVERNOR):
            found.append(
                f"the CPU governor is {self.bounds.governor}: the clock rises and falls; `profiler-service doctor` has the fix"
            )
        if self.busy:
            found.append(f"the machine is busy: {self.busy}; disturbed visits are repeated, and what cannot be is flagged")
        return found


def cpu_bounds(group: ControlGroup | None = None, governor: Path = GOVERNOR) -> CpuBounds:
    """What bounds this process; takes no time."""
    group = ControlGroup.of_this_process() if group is None else group
    usable = usable_cores()
    machine = max(os.cpu_count() or 0, len(usable))
    return CpuBounds(machine_cores=machine, usable=usable, quota_cores=group.quota_cores(), governor=cpu_governor(governor))


def look(seconds: float = LOOK_S) -> Conditions:
    """Look at the machine for so long. What this process and its descendants do meanwhile does not count."""
    watch = HostWatch()
    before = _cpu_seconds()
    watch.begin()
    time.sleep(seconds)
    host = watch.end()
    return Conditions(host=host, bounds=cpu_bounds(), neighbours=_busiest(before, _cpu_seconds(), seconds))


def _cpu_seconds() -> dict[tuple[int, str], float]:
    """What every process that can be seen has used so far, this one's own family excepted."""
    own = {os.getpid(), *(child.pid for child in psutil.Process().children(recursive=True))}
    found = {}
    for process in psutil.process_iter(["pid", "name", "cpu_times"]):
        times = process.info["cpu_times"]
        if times is not None and process.info["pid"] not in own:
            found[process.info["pid"], process.info["name"] or "?"] = times.user + times.system
    return found


def _busiest(
    before: dict[tuple[int, str], float], after: dict[tuple[int, str], float], seconds: float
) -> tuple[Neighbour, ...]:
    used = [
        Neighbour(name=name, pid=pid, cores=round((used_s - before.get((pid, name), used_s)) / seconds, 2))
        for (pid, name), used_s in after.items()
    ]
    used.sort(key=lambda neighbour: -neighbour.cores)
    return tuple(neighbour for neighbour in used[:_NEIGHBOURS_NAMED] if neighbour.cores >= _LEAST_NEIGHBOUR)


def cpu_governor(path: Path = GOVERNOR) -> str | None:
    """The CPU governor; None where it is not visible."""
    try:
        return path.read_text().strip() or None
    except OSError:
        return None


def _ranges(numbers: Iterable[int]) -> str:
    """`0-3,6` for 0, 1, 2, 3 and 6."""
    ordered = sorted(numbers)
    starts = [number for before, number in pairwise([-2, *ordered]) if number != before + 1]
    ends = [number for number, after in pairwise([*ordered, -2]) if after != number + 1]
    return ",".join(str(start) if start == end else f"{start}-{end}" for start, end in zip(starts, ends, strict=True))
