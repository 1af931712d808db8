"""A table that is begun beside other work and finished without it, and the other way round, ends like one made quietly."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from threading import Event

import pytest

from models.spaces.registry import create_space
from models.spec.architectures import SpaceSpec
from models.spec.measurements import Budget, Flag
from models.spec.tables import Table
from models.spec.verdicts import TrustLevel, judge_table
from models.spec.wire import JobCreate
from profiler_service.admission import admit
from profiler_service.backends.processor import usable_cores
from profiler_service.cli.runtime import open_runner, open_workers
from profiler_service.settings import Settings
from profiler_service.storage.store import Store
from scripts.noise import noise

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        len(usable_cores()) < 2 or not hasattr(os, "sched_setaffinity"),
        reason="a neighbour needs a core of its own: run it on Linux with two cores or more",
    ),
]

SPACE = create_space(SpaceSpec(name="fasterseg", input_size=(64, 128)))
OPERATORS = tuple(SPACE.operators()[::28])
ALLOWED = 0.03


def measure(database: Path, count: int) -> Table:
    """The table with that many of the operators, each job in processes of its own."""
    settings = Settings.load(database=database)
    with Store.open(database) as store:
        with open_workers(settings) as workers:
            admitted = admit(JobCreate(space=SPACE.spec, workloads=OPERATORS[:count], budget=Budget.QUICK), workers.description)
        job = store.create_job(admitted.request, store.ensure_table(admitted.info))
        open_runner(store, settings).run(job.id, lambda _: None, Event())
        return store.table(job.table_id)


@contextmanager
def neighbour() -> Iterator[None]:
    """One busy process on a core that the timing process, which takes the last one, does not use."""
    with noise([usable_cores()[0]], "cpu", seconds=240):
        yield


def units(table: Table) -> float:
    """The sum of the table's values in sentinel units."""
    assert table.info.scale is not None
    return sum(table.values_ms().values()) / table.info.scale.reference_ms


@pytest.mark.parametrize("begins_busy", [True, False])
def test_it_ends_like_one_made_quietly_or_says_that_it_does_not(tmp_path: Path, begins_busy: bool) -> None:
    """Half of the entries are measured beside a neighbour. Two quiet tables tell how far chance takes two apart here, and their
    databases what scale the machine has when it is quiet: no two databases share one.
    """
    quiet = [measure(tmp_path / f"quiet-{number}.sqlite", len(OPERATORS)) for number in range(2)]
    sums, scales = [units(table) for table in quiet], [table.info.scale.reference_ms for table in quiet if table.info.scale]
    allowed = max(ALLOWED, 2 * abs(sums[1] / sums[0] - 1))
    mixed, half = tmp_path / "mixed.sqlite", len(OPERATORS) // 2
    with neighbour() if begins_busy else nullcontext():
        measure(mixed, half)
    with nullcontext() if begins_busy else neighbour():
        table = measure(mixed, len(OPERATORS))
    error = abs(2 * units(table) / sum(sums) - 1)
    contaminated = {entry.key() for entry in table.entries if Flag.CONTAMINATED in entry.flags}
    if begins_busy:  # what was measured beside the neighbour is measured again
        assert error <= allowed
        assert len(contaminated) <= half / 2
        assert table.info.scale is not None
        assert 0.9 * min(scales) <= table.info.scale.reference_ms <= 1.1 * max(scales)
    else:
        assert error <= allowed or judge_table(table).level is not TrustLevel.TRUSTWORTHY
        assert contaminated, "a busy machine is seen"
        assert len(contaminated & {operator.key() for operator in OPERATORS[:half]}) <= half / 2, "quiet values stay good"
