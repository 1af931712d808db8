"""Histories of submissions, runs, deaths, lost locks and clocks set anew, made up by Hypothesis; after each step an independent
checker (`checker.py`) reads the database and the log.
"""

from __future__ import annotations

import sqlite3
from contextlib import ExitStack, closing, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from models.spaces.registry import create_space
from models.spec.architectures import SpaceSpec
from models.spec.errors import TableMismatchError
from models.spec.measurements import Budget, ProtocolName, Status
from models.spec.wire import JobCreate, JobState
from profiler_service.admission import admit
from profiler_service.errors import JobConflictError, JobHeldError
from profiler_service.jobs.process_lock import sole_run
from profiler_service.jobs.queue import JobQueue
from profiler_service.measure.visits import graph_key
from profiler_service.storage.location import Location, PostgresUrl
from profiler_service.storage.store import Store
from tests.fault.checker import Event, violations
from tests.fault.conftest import NewDatabase
from tests.fault.processes import Died, Process
from tests.support.fake_workers import DESCRIPTION, FakeWorkers
from tests.support.local_service import wait_until

SPACE = SpaceSpec(name="fasterseg", input_size=(64, 64), parameters={"layers": 4, "widths": (8,)})
OPERATORS = create_space(SPACE).operators()[:5]
OTHER_DRIVER = DESCRIPTION.target.model_copy(update={"versions": {"fake": "2"}})
MOST_WRITES = 40
"""More than a job of these operators has, so that some processes live."""


class Histories(RuleBasedStateMachine):
    """One database, processes that come and go, and a log of what they were told."""

    new_database: NewDatabase
    folder: Path

    def __init__(self) -> None:
        super().__init__()
        self.log: list[Event] = []
        self.processes = 0

    @initialize()
    def begin(self) -> None:
        """With something to do."""
        self.location: Location = type(self).new_database()
        self.store = Store.open(self.location)
        self.submit({0, 1}, "a", remeasure=False)
        self.submit({1, 2, 3}, None, remeasure=True)

    def process(self, **arguments: object) -> Process:
        self.processes += 1
        return Process(self.location, self.folder, self.log, f"process {self.processes}", **arguments)  # type: ignore[arg-type]

    def unfinished(self) -> list[str]:
        return [job.id for job in self.store.unfinished_jobs()]

    @rule(
        chosen=st.sets(st.sampled_from(range(len(OPERATORS))), min_size=1, max_size=3),
        token=st.none() | st.sampled_from("ab"),
        remeasure=st.booleans(),
    )
    def submit(self, chosen: set[int], token: str | None, *, remeasure: bool) -> None:
        """Again and again under the same key, now and then for something else."""
        workloads = tuple(OPERATORS[index] for index in sorted(chosen))
        request = JobCreate(space=SPACE, workloads=workloads, budget=Budget.QUICK, remeasure=remeasure)
        admitted = admit(request, DESCRIPTION)
        table = self.store.ensure_table(admitted.info)
        with suppress(JobConflictError):
            job = self.store.create_job(admitted.request, table, idempotency_key=token)
            keys = [workload.key() for workload in workloads]
            self.log.append({"event": "submitted", "job": job.id, "table": table, "keys": keys, "token": token})

    @precondition(lambda self: self.unfinished())
    @rule(death=st.integers(0, MOST_WRITES), committed=st.booleans(), broken=st.sets(st.sampled_from(range(5)), max_size=2))
    def run(self, death: int, committed: bool, broken: set[int]) -> None:
        """The process dies before one of its writes, or right after it; engines of some operators cannot be built."""

        def at_write(number: int, done: bool) -> None:
            if (number, done) == (death, committed):
                raise Died

        workers = FakeWorkers()
        for index in broken:
            workers.unbuildable[graph_key(OPERATORS[index], ProtocolName.IN_CONTEXT)] = Status.BUILD_ERROR
        with suppress(Died):
            self.process(at_write=at_write, workers=workers).run(self.unfinished()[0])

    @precondition(lambda self: self.unfinished())
    @rule(moment=st.integers(0, 12), lose=st.booleans())
    def run_beside_another(self, moment: int, lose: bool) -> None:
        """Another process takes the job, which it can only where the server has lost the first one's lock."""
        job, taken = self.unfinished()[0], ExitStack()

        def at_write(number: int, done: bool) -> None:
            if done or number != moment:
                return
            if lose and isinstance(self.location, PostgresUrl):
                _lose_locks(self.location)
                taken.enter_context(sole_run(self.location, job))
                self.log.append({"event": "lost", "by": first.name})
            else:
                with pytest.raises(JobHeldError):
                    self.process().run(job)

        first = self.process(at_write=at_write)
        with taken:
            try:
                first.run(job)
            except JobHeldError:
                assert self.log[-1] == {"event": "lost", "by": first.name}
                assert self.store.job(job).state is not JobState.DONE
        self.process().run(job)
        assert self.store.job(job).state is JobState.DONE

    @precondition(lambda self: self.unfinished())
    @rule()
    def run_with_another_driver(self) -> None:
        """Its numbers must not get into the table of the former one."""
        workers = FakeWorkers(description=replace(DESCRIPTION, target=OTHER_DRIVER))
        before = self.store.jobs()
        with suppress(TableMismatchError):
            self.process(workers=workers).run(self.unfinished()[0])
        assert workers.groups == []
        assert len(self.store.jobs()) == len(before)

    @precondition(lambda self: self.unfinished())
    @rule(index=st.integers(0, 9))
    def cancel(self, index: int) -> None:
        jobs = self.unfinished()
        job = self.store.update_job(jobs[index % len(jobs)], state=JobState.CANCELLED)
        self.log.append({"event": "ended", "job": job.id, "state": job.state.value})

    @rule(hours=st.sampled_from([-1, 1]))
    def set_the_clock(self, hours: int) -> None:
        """While no process runs, by an hour: all that was stored is so much older or younger."""
        _shift(self.location, timedelta(hours=hours))

    @invariant()
    def nothing_is_wrong(self) -> None:
        if hasattr(self, "location"):
            assert violations(self.location, self.log) == []

    def teardown(self) -> None:
        """A last process, which lives, brings every job to its end."""
        if not hasattr(self, "location"):
            return
        try:
            last = self.process()
            with JobQueue(last.store, last.runner, retry_s=0.01) as queue:
                wait_until(lambda: not self.unfinished(), timeout_s=60.0)
                assert queue.trouble == ""
            last.store.close()
            assert violations(self.location, self.log, over=True) == []
        finally:
            self.store.close()


def _lose_locks(url: PostgresUrl) -> None:
    """The server ends the connections that hold locks, as when it restarts."""
    with psycopg.connect(url.secret(), autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_locks WHERE locktype = 'advisory' AND pid <> pg_backend_pid()"
        )


def _shift(location: Location, by: timedelta) -> None:
    columns = {"jobs": ("created_at", "started_at", "finished_at"), "visits": ("started_at",)}
    if isinstance(location, PostgresUrl):
        with psycopg.connect(location.secret()) as server:
            for table, names in columns.items():
                for name in names:
                    server.execute(f"UPDATE {table} SET {name} = {name} + %s", (by,))  # type: ignore[call-overload]
        return
    with closing(sqlite3.connect(location)) as file, file:
        file.create_function("shifted", 1, lambda text: text and f"{_parsed(text) + by:%Y-%m-%d %H:%M:%S.%f}")
        for table, names in columns.items():
            for name in names:
                file.execute(f"UPDATE {table} SET {name} = shifted({name})")


def _parsed(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_no_history_loses_or_doubles_anything(new_database: NewDatabase, tmp_path: Path, full: bool) -> None:
    machine = type("Histories", (Histories,), {"new_database": staticmethod(new_database), "folder": tmp_path})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=150 if full else 8,
            stateful_step_count=20 if full else 8,
            derandomize=not full,
            deadline=None,
            phases=[Phase.explicit, Phase.generate, *([Phase.shrink] if full else [])],
            suppress_health_check=list(HealthCheck),
        ),
    )
