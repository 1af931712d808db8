"""A table that is begun beside other work and finished without it, and the other way round, ends like one made quietly."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest

from models.spec.measurements import Flag
from models.spec.tables import Table
from models.spec.verdicts import TrustLevel, table_verdict
from profiler_service.backends.processor import usable_cores
from profiler_service.storage.store import Store
from scripts.noise import noise

BIN = Path(sys.executable).parent

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        len(usable_cores()) < 2 or not hasattr(os, "sched_setaffinity"),
        reason="a neighbour needs a core of its own: run it on Linux with two cores or more",
    ),
]

SHARES = 28
"""Of FasterSeg's grid; two of them are measured, some twenty operators each."""

ALLOWED = 0.03


def measure(database: Path, *shares: int) -> Table:
    """The table after those shares, each measured by a command of its own: other work in this process is a stranger to it."""
    options = ["--space", "fasterseg", "--input-size", "64x128", "--budget", "quick", "--database", str(database), "--json"]
    for number in shares:
        command = [BIN / "profiler-service", "profile", "--share", f"{number}/{SHARES}", *options]
        done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
        assert done.returncode == 0, done.stderr
    with Store.open(database) as store:
        (listed,) = store.tables()
        return store.table(listed.id)


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
    """One share is measured beside a neighbour. Two quiet tables tell how far chance takes two apart here, and their databases
    what scale the machine has when it is quiet: no two databases share one.
    """
    quiet = [measure(tmp_path / f"quiet-{number}.sqlite", 1, 2) for number in range(2)]
    sums, scales = [units(table) for table in quiet], [table.info.scale.reference_ms for table in quiet if table.info.scale]
    allowed = max(ALLOWED, 2 * abs(sums[1] / sums[0] - 1))
    mixed = tmp_path / "mixed.sqlite"
    with neighbour() if begins_busy else nullcontext():
        first = measure(mixed, 1)
    with nullcontext() if begins_busy else neighbour():
        table = measure(mixed, 1, 2)
    error = abs(2 * units(table) / sum(sums) - 1)
    contaminated = {entry.key() for entry in table.entries if Flag.CONTAMINATED in entry.flags}
    assert table.info.scale is not None
    if begins_busy:
        assert any(Flag.CONTAMINATED in entry.flags for entry in first.entries), "a busy machine is seen"
        assert table_verdict(first).level is not TrustLevel.TRUSTWORTHY
        assert len(contaminated) < len(first.entries) / 2, "what was measured beside the neighbour is measured again"
        assert error <= allowed
        assert 0.9 * min(scales) <= table.info.scale.reference_ms <= 1.1 * max(scales)
    else:
        assert contaminated - set(first.by_key), "a busy machine is seen"
        assert len(contaminated & set(first.by_key)) < len(first.entries) / 2, "quiet values stay good"
        assert error <= allowed or table_verdict(table).level is not TrustLevel.TRUSTWORTHY
