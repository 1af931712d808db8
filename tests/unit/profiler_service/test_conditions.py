"""What is said of a machine before anything is measured on it."""

from __future__ import annotations

from pathlib import Path

import pytest

from profiler_service.backends.processor import usable_cores
from profiler_service.conditions import Conditions, CpuBounds, Neighbour, cpu_bounds, look
from profiler_service.jobs.host import ControlGroup
from profiler_service.measure.visits import HostState

ALL = CpuBounds(machine_cores=4, usable=(0, 1, 2, 3))
SOME = CpuBounds(machine_cores=16, usable=(0, 1, 2, 3, 6, 8, 9), quota_cores=1.5, governor="powersave")


def test_where_nothing_bounds_the_process_there_is_nothing_to_keep() -> None:
    assert ALL.provenance() == {}
    assert [ALL.quota_problem(threads) for threads in (1, 4)] == ["", ""]


def test_bounds_are_provenance() -> None:
    assert SOME.provenance() == {
        "cpu_quota": "1.5 cores",
        "cpuset": "0-3,6,8-9 of 16 cores",
        "governor": "powersave",
    }


@pytest.mark.parametrize(
    ("quota", "threads", "told"), [(1.5, 2, "stopped again and again"), (2.5, 2, "the rest of the job"), (3, 2, "")]
)
def test_a_quota_below_the_threads_and_one_more_is_a_problem(quota: float, threads: int, told: str) -> None:
    problem = ALL.model_copy(update={"quota_cores": quota}).quota_problem(threads)
    assert told in problem
    assert bool(problem) is bool(told)


def test_people_are_told_all_of_it_and_warned_of_what_matters() -> None:
    host = HostState(load=3.25, cores=7, others_busy=2.0, stolen=0.05)
    found = Conditions(host=host, bounds=SOME, neighbours=(Neighbour(name="ffmpeg", pid=7, cores=1.9),))
    assert found.busy == "others keep 2.0 of 7 cores busy, the hypervisor takes 5% of the time (ffmpeg 7: 1.9)"
    text = "\n".join(found.lines())
    for part in ("3.25", "0-3,6,8-9 of 16", "2.0 cores", "5.0%", "1.5 cores", "powersave"):
        assert part in text
    assert [warning.split()[1] for warning in found.warnings(1)] == ["CPU", "CPU", "machine"]
    assert Conditions(host=HostState(load=9.0, cores=4, others_busy=0.1), bounds=ALL).warnings(1) == []


def test_a_system_that_tells_nothing_is_not_called_busy() -> None:
    found = Conditions(host=HostState(load=1.0, cores=4), bounds=ALL)
    assert (found.busy, found.warnings(1)) == ("", [])
    assert any("unknown" in line for line in found.lines())


def test_reads_this_machine(tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text("150000 100000\n")
    (tmp_path / "governor").write_text("schedutil\n")
    bounds = cpu_bounds(ControlGroup((tmp_path,)), tmp_path / "governor")
    assert (bounds.quota_cores, bounds.governor, bounds.usable) == (1.5, "schedutil", usable_cores())
    assert cpu_bounds(ControlGroup(()), tmp_path / "none").governor is None
    assert look(0.25).host.cores == len(usable_cores())
