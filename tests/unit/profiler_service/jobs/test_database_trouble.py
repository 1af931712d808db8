"""Jobs whose database cannot be used for a while, or not any more: they wait, and nothing is called done that is not stored."""

from __future__ import annotations

import errno
import os
import pickle
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from models.spec.wire import JobPublic, JobState
from profiler_service.errors import DatabaseError, JobError
from profiler_service.jobs.queue import JobQueue
from profiler_service.storage.sqlite_database import PRAGMAS
from profiler_service.storage.store import Store
from profiler_service.worker.graphs import cannot_write
from tests.support.fake_workers import FakeWorkers
from tests.unit.profiler_service.jobs.conftest import Bench

PATIENCE_S = 20.0
SHORT = {**PRAGMAS, "busy_timeout": "10"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tables.sqlite"


@pytest.fixture
def bench(path: Path, tmp_path: Path) -> Iterator[Bench]:
    with Store.open(path, pragmas=SHORT) as store:
        yield Bench(store, tmp_path)


@pytest.fixture
def other(path: Path, bench: Bench) -> Iterator[sqlite3.Connection]:
    """Another process's connection, as far as SQLite can tell."""
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as connection:
        yield connection


def at_group(number: int, act: Callable[[], object]) -> Callable[[int], None]:
    def on_group(group: int) -> None:
        if group == number:
            act()

    return on_group


def wait_until(condition: Callable[[], bool]) -> None:
    waited = threading.Event()
    for _ in range(int(PATIENCE_S / 0.01)):
        if condition():
            return
        waited.wait(0.01)
    raise AssertionError("it did not come to pass")


def test_a_job_waits_while_the_database_is_locked_and_goes_on(bench: Bench, other: sqlite3.Connection) -> None:
    bench.workers.on_group = at_group(1, lambda: other.execute("BEGIN IMMEDIATE"))
    waits: list[str] = []

    def unlock(state: JobPublic) -> None:
        if state.phase.startswith("waiting for the database"):
            waits.append(state.phase)
            if len(waits) == 3:
                other.execute("ROLLBACK")

    job = bench.submit()
    bench.run(job, on_progress=unlock)
    assert bench.store.job(job.id).state is JobState.DONE
    assert len(waits) == 3
    assert "another process keeps it locked" in waits[0]
    assert bench.workers.opened == 1  # nothing was measured twice


def test_a_job_that_has_waited_too_long_has_not_failed(bench: Bench, other: sqlite3.Connection) -> None:
    bench.configure(database_patience_s=0.05)
    bench.workers.on_group = at_group(1, lambda: other.execute("BEGIN IMMEDIATE"))
    job = bench.submit()
    with pytest.raises(DatabaseError, match="another process keeps it locked"):
        bench.run(job)
    assert bench.store.job(job.id).state.active
    other.execute("ROLLBACK")
    bench.workers.on_group = lambda group: None
    bench.run(job)
    assert bench.store.job(job.id).state is JobState.DONE


def test_the_queue_says_that_it_cannot_write_and_tries_again(bench: Bench, other: sqlite3.Connection) -> None:
    """The job would otherwise be `running` for ever, with nobody who runs it."""
    bench.configure(database_patience_s=0.02)
    bench.workers.on_group = at_group(1, lambda: other.execute("BEGIN IMMEDIATE"))
    with JobQueue(bench.store, bench.runner, retry_s=0.02) as queue:
        first = bench.submit()
        job = queue.submit(first.request, first.table_id)
        wait_until(lambda: "another process keeps it locked" in queue.trouble)
        assert queue.job(job.id).phase.startswith("waiting for the database")
        other.execute("ROLLBACK")
        wait_until(lambda: bench.store.job(job.id).state is JobState.DONE)
        wait_until(lambda: queue.trouble == "")


@pytest.mark.parametrize("put_back", [False, True])
def test_a_database_that_was_moved_away_is_noticed_and_its_job_is_not_done(bench: Bench, path: Path, put_back: bool) -> None:
    bench.configure(database_patience_s=600.0 if put_back else 0.05)
    away = path.with_name("away")
    bench.workers.on_group = at_group(1, lambda: path.rename(away))

    def restore(state: JobPublic) -> None:
        if put_back and state.phase.startswith("waiting for the database"):
            assert "removed or moved" in state.phase
            away.rename(path)

    job = bench.submit()
    if put_back:
        bench.run(job, on_progress=restore)
        assert bench.store.job(job.id).state is JobState.DONE
    else:
        with pytest.raises(DatabaseError, match="removed or moved"):
            bench.run(job)
    assert bench.states[-1].state is (JobState.DONE if put_back else JobState.MEASURING)


def test_another_file_in_the_databases_place_is_noticed(bench: Bench, path: Path, tmp_path: Path) -> None:
    bench.configure(database_patience_s=0.05)
    with Store.open(tmp_path / "other.sqlite"):
        pass
    bench.workers.on_group = at_group(1, lambda: (tmp_path / "other.sqlite").replace(path))
    with pytest.raises(DatabaseError, match="another file has taken its place"):
        bench.run(bench.submit())
    with pytest.raises(DatabaseError, match="another file has taken its place"):
        bench.store.check()
    assert not any(state.state is JobState.DONE for state in bench.states)


def test_a_database_that_was_cut_short_is_noticed(bench: Bench, path: Path) -> None:
    bench.workers.on_group = at_group(1, lambda: os.truncate(path, 0))
    with pytest.raises(DatabaseError, match="it is damaged"):
        bench.run(bench.submit())
    with pytest.raises(DatabaseError, match="it is damaged"):
        bench.store.check()
    assert not any(state.state is JobState.DONE for state in bench.states)


def test_a_database_that_was_overwritten_is_noticed_by_the_check(bench: Bench, path: Path, other: sqlite3.Connection) -> None:
    bench.submit()
    other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with path.open("r+b") as file:
        file.write(b"\x55" * path.stat().st_size)
    with pytest.raises(DatabaseError, match=r"damaged|not an SQLite database"):
        bench.store.check()


def test_a_job_whose_measurements_vanished_is_not_done(bench: Bench, other: sqlite3.Connection) -> None:
    bench.runner._settings = bench.runner._settings.model_copy(update={"plain_check": False})
    job = bench.submit()

    def rob(state: JobPublic) -> None:
        if state.counts.measured and state.counts.measured == state.counts.total:
            other.execute("DELETE FROM measurements WHERE rowid IN (SELECT rowid FROM measurements LIMIT 1)")

    with pytest.raises(JobError, match="are not in the database any more"):
        bench.run(job, on_progress=rob)
    assert bench.store.job(job.id).state is JobState.FAILED


def test_readers_take_no_connection_from_the_job(bench: Bench) -> None:
    """Twenty readers in the middle of a table once used up what the job needed to store its results."""
    reading, go_on = threading.Barrier(21), threading.Event()

    def read(_session: object) -> None:
        reading.wait(PATIENCE_S)
        go_on.wait(PATIENCE_S)

    readers = [threading.Thread(target=bench.store._database.read, args=(read,)) for _ in range(20)]
    for reader in readers:
        reader.start()
    reading.wait(PATIENCE_S)
    job = bench.submit()
    bench.run(job)
    go_on.set()
    for reader in readers:
        reader.join()
    assert bench.store.job(job.id).state is JobState.DONE


def test_want_of_file_descriptors_is_waited_out(bench: Bench) -> None:
    failures = [OSError(errno.EMFILE, "Too many open files"), OSError(errno.ENFILE, "File table overflow")]

    def use_up(_group: int) -> None:
        if failures:
            raise failures.pop()

    bench.workers.on_group = use_up
    bench.configure()
    job = bench.submit()
    bench.run(job)
    assert bench.store.job(job.id).state is JobState.DONE
    assert any("waiting for the system: Too many open files" in state.phase for state in bench.states)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("of_the_cache", [False, True])
def test_a_disk_that_is_full_is_waited_out(bench: Bench, number: int, *, of_the_cache: bool) -> None:
    full = OSError(number, os.strerror(number), "/tmp/task-1")
    failures = [cannot_write(Path("/cache/graph.onnx"), full) if of_the_cache else full]

    def fill(_group: int) -> None:
        if failures:
            raise pickle.loads(pickle.dumps(failures.pop()))  # as it comes from a worker's process

    bench.workers.on_group = fill
    job = bench.submit()
    bench.run(job)
    assert bench.store.job(job.id).state is JobState.DONE
    assert any(state.phase.startswith("waiting for the system: ") for state in bench.states)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENOSPC])
def test_what_the_system_lacks_is_waited_for_from_its_first_refusal_on(bench: Bench, number: int) -> None:
    """And anew wherever the job got further meanwhile: here each refusal comes after more than the patience."""

    def refuse(group: int) -> None:
        if group % 2:
            pause.wait(0.15)
            bench.workers.groups.append(bench.workers.groups[-1])
            raise OSError(number, os.strerror(number))

    pause = threading.Event()
    bench.configure(database_patience_s=0.1)
    bench.workers.on_group = refuse
    job = bench.submit()
    bench.run(job)
    assert bench.store.job(job.id).state is JobState.DONE


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENOSPC])
def test_patience_with_the_system_ends(bench: Bench, number: int) -> None:
    def refuse(group: int) -> None:
        if group:
            raise OSError(number, os.strerror(number))

    bench.configure(database_patience_s=0.2)
    bench.workers.on_group = refuse
    job = bench.submit()
    with pytest.raises(OSError, match=os.strerror(number)):
        bench.run(job)
    assert bench.store.job(job.id).state is JobState.FAILED


def test_a_job_that_waits_for_the_system_can_be_cancelled(bench: Bench) -> None:
    def refuse(_group: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    cancelled = threading.Event()
    bench.workers.on_group = refuse
    job = bench.submit()
    bench.run(job, on_progress=lambda state: cancelled.set() if "system" in state.phase else None, cancelled=cancelled)
    assert bench.store.job(job.id).state is JobState.CANCELLED


def test_another_error_of_the_system_is_not_waited_for(bench: Bench) -> None:
    def fail(_group: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    bench.workers.on_group = fail
    with pytest.raises(OSError, match="Input/output"):
        bench.run(bench.submit())


class StuckWorkers(FakeWorkers):
    """A visit takes until the processes are killed."""

    def time(self, request: object) -> object:  # type: ignore[override]
        self.visiting.set()
        assert self.killed.wait(PATIENCE_S)
        raise JobError("the workers were closed")

    def close(self) -> None:
        super().close()
        self.killed.set()

    def __post_init__(self) -> None:
        super().__post_init__()
        self.visiting, self.killed = threading.Event(), threading.Event()


def test_cancelling_cuts_a_long_visit_off(bench: Bench) -> None:
    workers = bench.workers = StuckWorkers()
    with JobQueue(bench.store, bench.runner, cancel_timeout_s=0.05) as queue:
        first = bench.submit()
        job = queue.submit(first.request, first.table_id)
        assert workers.visiting.wait(PATIENCE_S)
        queue.cancel(job.id)
        queue.cancel(job.id)  # once more changes nothing
        wait_until(lambda: bench.store.job(job.id).state.final)
    assert bench.store.job(job.id).state is JobState.CANCELLED


def test_a_job_that_was_stopped_before_its_processes_were_there_measures_nothing(bench: Bench) -> None:
    cancelled = threading.Event()
    workers = bench.workers = StuckWorkers()

    def cancel(state: JobPublic) -> None:
        if state.state is JobState.PLANNED:
            cancelled.set()

    job = bench.submit()
    bench.run(job, on_progress=cancel, cancelled=cancelled)
    assert bench.store.job(job.id).state is JobState.CANCELLED
    assert not workers.visiting.is_set()
