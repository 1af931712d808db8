"""One database and several processes, some of which come to a bad end."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from profiler_service.storage.store import Store
from tests.support import table_samples as samples
from tests.support.repository import ROOT


class Writer:
    """A running `store_writer`, which waits for `start`."""

    def __init__(self, database: Path, first: int, count: int) -> None:
        command = [sys.executable, "-m", "tests.integration.store_writer", str(database), str(first), str(count)]
        self.process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)

    def wait_ready(self) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def start(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def saved(self) -> Iterator[int]:
        """The numbers saved so far, as they come."""
        assert self.process.stdout is not None
        return map(int, self.process.stdout)


def stored(path: Path) -> set[int]:
    with Store.open(path, create=False) as store:
        return {entry.workload.out_channels for entry in store.table(samples.info().id()).entries}  # type: ignore[union-attr]


@pytest.mark.slow
def test_several_writers_of_a_new_database_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "opclock.sqlite"
    with ExitStack() as stack:
        writers = [Writer(path, 1 + 100 * index, 100) for index in range(4)]
        for writer in writers:
            stack.enter_context(writer.process)
        for writer in writers:
            writer.wait_ready()
        for writer in writers:
            writer.start()
        for index, writer in enumerate(writers):
            assert list(writer.saved()) == list(range(1 + 100 * index, 101 + 100 * index))
            assert writer.process.wait() == 0
    assert stored(path) == set(range(1, 401))


@pytest.mark.slow
def test_a_killed_writer_loses_nothing_that_it_saved(tmp_path: Path) -> None:
    path = tmp_path / "opclock.sqlite"
    for first in (1, 5001):
        writer = Writer(path, first, 4000)
        with writer.process:
            writer.wait_ready()
            writer.start()
            numbers = writer.saved()
            seen = {next(numbers) for _ in range(50)}
            writer.process.kill()
            seen |= set(numbers)
        assert writer.process.returncode == -9
        assert 50 <= len(seen) < 4000
        # The last one may have been saved without having been reported.
        unreported = {number for number in stored(path) if number >= first} - seen
        assert seen <= stored(path)
        assert unreported <= {max(seen) + 1}
