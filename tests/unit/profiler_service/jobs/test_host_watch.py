"""What is told of other work: from counters made up, from files made up, and from this machine."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from profiler_service.backends.processor import usable_cores
from profiler_service.jobs.host import SHORTEST_S, ControlGroup, HostCounters, HostReading, HostWatch, host_between
from profiler_service.measure.visits import HostState
from scripts.noise import noise

START = HostReading(at_s=5.0, cores=4, busy_s=100.0, stolen_s=3.0, total_s=400.0, own_s=40.0, throttled=7)
LATER = HostReading(at_s=15.0, cores=4, busy_s=125.0, stolen_s=4.0, total_s=440.0, own_s=50.0, throttled=9)


def test_others_are_what_is_busy_beyond_this_process_and_its_descendants() -> None:
    state = host_between(START, LATER, load=2.5)
    assert state == HostState(load=2.5, cores=4, others_busy=1.5, stolen=0.025, throttled=2)
    assert state.busy == "others keep 1.5 of 4 cores busy, the CPU quota stopped the job 2 times"


@pytest.mark.parametrize("field", ["busy_s", "own_s"])
def test_what_the_system_does_not_tell_is_not_told(field: str) -> None:
    state = host_between(START, replace(LATER, **{field: None}), load=0.0)
    assert (state.others_busy, state.throttled) == (None, 2)


def test_counters_of_something_else_are_not_told() -> None:
    state = host_between(START, replace(LATER, own_s=39.0, stolen_s=2.0, throttled=0), load=0.0)
    assert (state.others_busy, state.stolen, state.throttled, state.busy) == (None, None, None, "")


def test_an_interval_too_short_for_the_counters_tells_of_no_others() -> None:
    long, short = (replace(LATER, at_s=START.at_s + factor * SHORTEST_S, throttled=7) for factor in (1.01, 0.99))
    assert host_between(START, long, load=0.0).others_busy is not None
    state = host_between(START, short, load=0.0)
    assert (state.others_busy, state.stolen, state.busy) == (None, None, "")


def test_short_intervals_that_follow_each_other_are_told_together() -> None:
    """Visits of 0.1 s, every 0.12 s, beside one busy core of others."""
    now_s = [10.0]

    def read() -> HostReading:
        return replace(START, at_s=now_s[0], busy_s=2 * now_s[0], own_s=now_s[0], total_s=4 * now_s[0], throttled=int(now_s[0]))

    watch, told = HostWatch(read, load=lambda: 0.0), []
    for _ in range(4):
        watch.begin()
        now_s[0] += 0.1
        told.append(watch.end().others_busy)
        now_s[0] += 0.02
    assert told[0] is None
    assert told[1:] == pytest.approx([1.0, 1.0, 1.0])

    now_s[0] += 5.0  # what was before that pause says nothing of the next visit
    watch.begin()
    now_s[0] += 0.1
    assert watch.end().others_busy is None


def test_own_work_that_the_coarse_counter_missed_is_no_negative_work_of_others() -> None:
    assert host_between(START, replace(LATER, busy_s=109.9), load=0.0).others_busy == 0.0


TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def process(proc: Path, pid: int, ticks: tuple[int, int, int, int], children: dict[int, list[int]]) -> None:
    """A process of that CPU time, its children by thread."""
    directory = proc / str(pid)
    for thread, found in children.items():
        task = directory / "task" / str(thread)
        task.mkdir(parents=True)
        (task / "children").write_text(" ".join(map(str, found)))
    middle = " ".join("0" for _ in range(10))
    (directory / "stat").write_text(f"{pid} (a (bad) name) S {middle} {' '.join(map(str, ticks))} 20 0 1 0 999\n")


def test_reads_what_the_system_writes(tmp_path: Path) -> None:
    cores = usable_cores()
    lines = [f"cpu{core} 100 10 50 1000 20 5 5 7 3 0" for core in cores]
    other = f"cpu{max(cores) + 1} 9999 0 0 0 0 0 0 9999 0 0"  # a core that this process may not use
    (tmp_path / "stat").write_text("\n".join(["cpu  1 1 1 1 1 1 1 1 0 0", *lines, other, "intr 1 2 3", "cpu0 1"]))
    process(tmp_path, 10, (1, 2, 30, 40), {10: [11], 12: [13]})
    process(tmp_path, 11, (100, 0, 0, 0), {11: [14]})
    process(tmp_path, 13, (1000, 0, 0, 0), {13: []})
    process(tmp_path, 14, (10000, 0, 0, 0), {14: [15]})  # 15 has ended meanwhile
    process(tmp_path, 20, (5, 5, 5, 5), {20: []})

    reading = HostCounters(tmp_path, 10, ControlGroup(())).read()

    assert reading.cores == len(cores)
    assert reading.busy_s == pytest.approx(170 * len(cores) * TICK_S)
    assert reading.stolen_s == pytest.approx(7 * len(cores) * TICK_S)
    assert reading.total_s == pytest.approx(1197 * len(cores) * TICK_S)
    assert reading.own_s == pytest.approx((73 + 100 + 1000 + 10000) * TICK_S)
    assert reading.throttled is None


def test_a_child_that_starts_later_is_this_processs_own_at_once(tmp_path: Path) -> None:
    (tmp_path / "stat").write_text(f"cpu{usable_cores()[0]} 1 1 1 1 1 1 1 1 0 0\n")
    process(tmp_path, 10, (1, 0, 0, 0), {10: []})
    counters = HostCounters(tmp_path, 10, ControlGroup(()))
    assert counters.read().own_s == pytest.approx(TICK_S)
    (tmp_path / "10" / "task" / "10" / "children").write_text("11")
    process(tmp_path, 11, (7, 0, 0, 0), {11: []})
    assert counters.read().own_s == pytest.approx(8 * TICK_S)


def test_a_system_that_tells_nothing(tmp_path: Path) -> None:
    watch = HostWatch(HostCounters(tmp_path, 10, ControlGroup(())).read, load=lambda: 1.5)
    assert watch.end() == HostState(load=1.5, cores=len(usable_cores()))


@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="only Linux tells of others")
def test_work_of_another_family_is_seen_and_own_work_is_not() -> None:
    """Two watches over the same time, so that what else this machine does is in both."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as stranger:
        theirs, ours = HostWatch(HostCounters(pid=stranger.pid).read), HostWatch()

        def ours_in_their_eyes() -> float:
            """Cores that this process and its children keep busy, by how much the two differ."""
            theirs.begin()
            ours.begin()
            time.sleep(0.5)
            others = [watch.end().others_busy for watch in (theirs, ours)]
            assert others[0] is not None
            assert others[1] is not None
            return others[0] - others[1]

        idle = ours_in_their_eyes()
        with noise(cores=[usable_cores()[-1]]):
            busy = max(ours_in_their_eyes() for _ in range(3))  # on a machine that is busy already it gets a part of a core
        stranger.communicate(b"\n")
    assert busy > idle + 0.2
