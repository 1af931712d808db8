"""The noise that is made on purpose is there, is seen, and ends."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import psutil
import pytest

from profiler_service.backends.processor import usable_cores
from scripts.noise import Kind, noise
from tests.support.repository import ROOT

CORE = usable_cores()[-1]


def cpu_s(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


@pytest.mark.parametrize("kind", ["cpu", "memory"])
def test_keeps_a_core_busy_while_the_block_runs(kind: Kind) -> None:
    with noise(cores=[CORE], kind=kind) as (pid,):
        assert psutil.Process(pid).cpu_affinity() == [CORE]
        before_s = cpu_s(pid)
        deadline_s = time.monotonic() + 60
        while cpu_s(pid) < before_s + 0.5:
            assert time.monotonic() < deadline_s
            time.sleep(0.05)
    assert not psutil.pid_exists(pid)


def test_pauses_and_ends_by_itself() -> None:
    with noise(cores=[CORE], on_s=0.2, off_s=1.0, seconds=2.4) as (pid,):
        process = psutil.Process(pid)
        before_s, used_s = cpu_s(pid), 0.0
        deadline_s = time.monotonic() + 60
        while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < deadline_s
            used_s = cpu_s(pid) - before_s
            time.sleep(0.02)
    assert used_s < 1.2  # half of the time, had it not paused


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_no_process_outlives_the_command(number: signal.Signals) -> None:
    command = [sys.executable, "scripts/noise.py", "--cores", str(CORE), str(CORE), "--kind", "memory", "--seconds", "300"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = process.stdout.readline()
        children = [psutil.Process(int(pid)) for pid in said.rpartition(":")[2].split()]
        assert len(children) == 2
        process.send_signal(number)
        assert process.wait(60) == (-number if number is signal.SIGKILL else 130)
    gone, alive = psutil.wait_procs(children, timeout=30)
    assert (len(gone), alive) == (2, [])


def test_a_core_that_is_not_there_is_refused() -> None:
    ended = subprocess.run(
        [sys.executable, "scripts/noise.py", "--cores", "4095"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    assert "--cores 4095: this process may use" in ended.stderr
