"""How long a table takes, where the time goes, and that memory depends on the live group and not on the table."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from threading import Event

import psutil
import pytest

from models.spaces.registry import create_space
from models.spec.architectures import SpaceSpec
from models.spec.measurements import Budget, Flag, Measurement, Workload
from models.spec.wire import JobCreate
from profiler_service.admission import admit
from profiler_service.cli.runtime import open_workers
from profiler_service.jobs.reporting import PhaseSeconds
from profiler_service.jobs.runner import JobRunner
from profiler_service.settings import Settings
from profiler_service.storage.store import Store

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(1800)]

SPACE = create_space(SpaceSpec(name="fasterseg", input_size=(128, 256)))
SMALL = 150
"""Operators of a small job: enough for a full group of live engines."""


@dataclass(frozen=True)
class Run:
    """One job on an empty database."""

    seconds: PhaseSeconds
    entries: tuple[Measurement, ...]
    service_growth_bytes: int


def measure(directory: Path, workloads: tuple[Workload, ...] | None) -> Run:
    settings = Settings.load(database=directory / "tables.sqlite")
    before = psutil.Process().memory_info().rss
    with Store.open(settings.database) as store:
        with open_workers(settings) as workers:
            admitted = admit(JobCreate(space=SPACE.spec, workloads=workloads, budget=Budget.QUICK), workers.description)
        job = store.create_job(admitted.request, store.ensure_table(admitted.info))
        seconds = JobRunner(store, settings, lambda: open_workers(settings)).run(job.id, lambda state: None, Event())
        entries = store.table(job.table_id).entries
    return Run(seconds, entries, psutil.Process().memory_info().rss - before)


def report(run: Run) -> None:
    seconds = run.seconds
    rounds = sum(entry.rounds for entry in run.entries)
    unconverged = sum(Flag.UNCONVERGED in entry.flags for entry in run.entries)
    named = {
        "waiting for the device": seconds.waiting_s,
        "graphs": seconds.graphs_s,
        "builds and checks": seconds.builds_s,
        "warm-up": seconds.warmup_s,
        "sampling": seconds.sampling_s,
    }
    named["the rest"] = seconds.total_s - sum(named.values())
    print(
        f"\n{SPACE.spec.label()}: {len(run.entries)} entries in {seconds.total_s:.1f} s: "
        f"{len(run.entries) / seconds.total_s:.1f} entries/s, {unconverged} unconverged, "
        f"{rounds / len(run.entries):.1f} rounds each, {seconds.repeats} of {seconds.visits} visits were repeats"
    )
    for name, value_s in named.items():
        print(f"  {name:<24}{value_s:8.1f} s {value_s / seconds.total_s:6.0%}")
    print(f"  per entry and round     {1e3 * (seconds.warmup_s + seconds.sampling_s) / rounds:8.1f} ms of passes")
    print(f"  timing process, at most {seconds.peak_rss_bytes / 2**20:8.0f} MiB")
    print(f"  service process grew by {run.service_growth_bytes / 2**20:8.0f} MiB")


def test_table_of_fasterseg_at_128x256(tmp_path_factory: pytest.TempPathFactory) -> None:
    grid = SPACE.operators()
    sample = tuple(random.Random(0).sample(grid, SMALL))
    small = measure(tmp_path_factory.mktemp("small"), sample)
    large = measure(tmp_path_factory.mktemp("large"), None)
    for run in (small, large):
        report(run)
    ratio = large.seconds.peak_rss_bytes / small.seconds.peak_rss_bytes
    print(f"  {len(grid) / SMALL:.1f} times the entries take {ratio:.2f} times the memory")
    assert len(large.entries) == len(grid)
    assert ratio < 1.25
    assert large.service_growth_bytes < 64 * 2**20
