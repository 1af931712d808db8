"""A table that is begun beside other work and finished without it, and the other way round, ends like one made quietly."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import NamedTuple

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
    pytest.mark.alone,
    pytest.mark.skipif(
        len(usable_cores()) < 2 or not hasattr(os, "sched_setaffinity"),
        reason="a neighbour needs a core of its own: run it on Linux with two cores or more",
    ),
]

SHARES = 28
"""Of FasterSeg's grid; two of them are measured, some twenty operators each."""

ALLOWED = 0.03
"""Within which sums of values count as alike."""

EVER = 0.2
"""Beyond which the sum is wrong however the machine drifts: a scale learned beside other work was once 39 % off, and quiet
databases on shared cores have been 13 % apart."""


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


def scale_ms(table: Table) -> float:
    """What the sentinel takes on the machine of that table's database."""
    assert table.info.scale is not None
    return table.info.scale.reference_ms


def units(table: Table) -> float:
    """The sum of the table's values in sentinel units."""
    return sum(table.values_ms().values()) / scale_ms(table)


class Measured(NamedTuple):
    """A table of which one share was measured beside a neighbour, and the quiet tables made before and after.

    Attributes:
        first: that table after its first share.
    """

    before: Table
    first: Table
    table: Table
    after: Table


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Measured]:
    """By whether the neighbour was there for the first share, or for the second."""
    folder = tmp_path_factory.mktemp("beginnings")
    found = {}
    before = measure(folder / "quiet.sqlite", 1, 2)
    for begins_busy in (True, False):
        mixed = folder / f"mixed-{begins_busy}.sqlite"
        with neighbour() if begins_busy else nullcontext():
            first = measure(mixed, 1)
        with nullcontext() if begins_busy else neighbour():
            table = measure(mixed, 1, 2)
        after = measure(folder / f"quiet-after-{begins_busy}.sqlite", 1, 2)
        found[begins_busy] = Measured(before, first, table, after)
        before = after
    return found


@pytest.mark.parametrize("begins_busy", [True, False])
def test_it_ends_like_one_made_quietly_or_says_that_it_does_not(measured: dict[bool, Measured], begins_busy: bool) -> None:
    """The two quiet tables tell how far the machine itself takes two apart meanwhile, and their databases what scale it has
    when it is quiet: no two databases share one.
    """
    before, first, table, after = measured[begins_busy]
    quiet = [units(before), units(after)]
    error = abs(2 * units(table) / sum(quiet) - 1)
    like_quiet = error <= max(ALLOWED, 2 * abs(quiet[1] / quiet[0] - 1))
    assert error <= EVER, "whatever the machine does, the neighbour's share of the time is not in the table"
    assert like_quiet or table_verdict(table).level is not TrustLevel.TRUSTWORTHY
    contaminated = {entry.key() for entry in table.entries if Flag.CONTAMINATED in entry.flags}
    if begins_busy:
        assert any(Flag.CONTAMINATED in entry.flags for entry in first.entries), "a busy machine is seen"
        assert table_verdict(first).level is not TrustLevel.TRUSTWORTHY
        assert len(contaminated) < len(first.entries) / 2, "what was measured beside the neighbour is measured again"
        assert (
            (1 - EVER) * min(map(scale_ms, (before, after)))
            <= scale_ms(table)
            <= max(map(scale_ms, (before, after))) / (1 - EVER)
        )
    else:
        assert contaminated - set(first.by_key), "a busy machine is seen"
        assert len(contaminated & set(first.by_key)) < len(first.entries) / 2, "quiet values stay good"
