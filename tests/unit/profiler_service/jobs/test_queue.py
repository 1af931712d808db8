"""Jobs one after another, followed and called off from other threads."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest

from models.spaces.registry import create_space
from models.spec.architectures import SpaceSpec
from models.spec.measurements import ProtocolName
from models.spec.wire import JobCreate, JobPublic, JobState
from profiler_service.admission import admit
from profiler_service.errors import JobConflictError, JobError, JobHeldError, JobNotFoundError, QueueFullError
from profiler_service.jobs.process_lock import run_lock
from profiler_service.jobs.queue import JobQueue
from profiler_service.jobs.reporting import OnProgress, PhaseSeconds
from profiler_service.jobs.waiting import QueueLimits
from profiler_service.storage.job_rows import Owner
from profiler_service.storage.store import Store
from tests.support.fake_workers import DESCRIPTION
from tests.unit.profiler_service.jobs.conftest import SPACE

PATIENCE_S = 20.0


class ScriptedRunner:
    """Runs each job until the test lets it go, or it is told to stop."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.started: list[str] = []
        self.begun = threading.Event()
        self.go = threading.Event()
        self.aborted = threading.Event()
        self.fails = False
        self.held: set[str] = set()
        self.hangs = False

    def run(
        self, job_id: str, on_progress: OnProgress, cancelled: threading.Event, interrupted: threading.Event
    ) -> PhaseSeconds:
        if job_id in self.held:
            raise JobHeldError("another process runs it")
        self.started.append(job_id)
        on_progress(self.store.update_job(job_id, state=JobState.PLANNED))
        self.begun.set()
        while not self.go.wait(0.005):
            if self.aborted.is_set() or (interrupted.is_set() and not self.hangs):
                return PhaseSeconds()
            if cancelled.is_set():
                on_progress(self.store.update_job(job_id, state=JobState.CANCELLED))
                return PhaseSeconds()
        if self.fails:
            self.store.update_job(job_id, state=JobState.FAILED, message="no")
            raise JobError("no")
        on_progress(self.store.update_job(job_id, fraction=0.5))
        on_progress(self.store.update_job(job_id, state=JobState.DONE, fraction=1.0))
        return PhaseSeconds()

    def abort(self, job_id: str | None = None) -> None:
        self.aborted.set()


@pytest.fixture
def runner(store: Store) -> ScriptedRunner:
    return ScriptedRunner(store)


@pytest.fixture
def queue(store: Store, runner: ScriptedRunner) -> Iterator[JobQueue]:
    with JobQueue(store, runner, stop_timeout_s=0.2) as queue:  # type: ignore[arg-type]
        yield queue


@pytest.fixture
def submit(store: Store, queue: JobQueue) -> Callable[..., JobPublic]:
    def submit(space: SpaceSpec = SPACE, key: str | None = None) -> JobPublic:
        admitted = admit(JobCreate(space=space), DESCRIPTION)
        return queue.submit(admitted.request, store.ensure_table(admitted.info), idempotency_key=key)

    return submit


def wait_until(condition: Callable[[], bool]) -> None:
    done = threading.Event()
    for _ in range(int(PATIENCE_S / 0.01)):
        if condition():
            return
        done.wait(0.01)
    raise AssertionError("it did not come to pass")


def final(store: Store, job: JobPublic) -> Callable[[], bool]:
    return lambda: store.job(job.id).state.final


def test_jobs_run_in_the_order_in_which_they_came(
    store: Store, runner: ScriptedRunner, submit: Callable[..., JobPublic]
) -> None:
    jobs = [submit() for _ in range(4)]
    assert all(job.state is JobState.QUEUED for job in jobs)
    runner.go.set()
    wait_until(final(store, jobs[-1]))
    assert runner.started == [job.id for job in jobs]


def test_a_job_that_waits_is_given_another_place(
    store: Store, runner: ScriptedRunner, queue: JobQueue, submit: Callable[..., JobPublic]
) -> None:
    first, *waiting = [submit() for _ in range(3)]
    wait_until(lambda: runner.started == [first.id])
    assert queue.prioritise(waiting[1].id, 1).request.priority == 1
    runner.go.set()
    wait_until(final(store, waiting[0]))
    assert runner.started == [first.id, waiting[1].id, waiting[0].id]
    with pytest.raises(JobConflictError, match="done already"):
        queue.prioritise(first.id, 2)


def test_unfinished_jobs_are_taken_up_at_the_start(store: Store, runner: ScriptedRunner) -> None:
    admitted = admit(JobCreate(space=SPACE), DESCRIPTION)
    table_id = store.ensure_table(admitted.info)
    running, waiting, done = (store.create_job(admitted.request, table_id) for _ in range(3))
    store.update_job(running.id, state=JobState.PLANNED)
    store.update_job(done.id, state=JobState.CANCELLED)
    runner.go.set()
    with JobQueue(store, runner):  # type: ignore[arg-type]
        wait_until(final(store, waiting))
    assert runner.started == [running.id, waiting.id]


def test_a_repeated_request_is_the_same_job_and_runs_once(
    store: Store, runner: ScriptedRunner, submit: Callable[..., JobPublic]
) -> None:
    first = submit(key="k")
    assert submit(key="k").id == first.id
    runner.go.set()
    wait_until(final(store, first))
    assert submit(key="k").state is JobState.DONE
    last = submit()
    wait_until(final(store, last))
    assert runner.started == [first.id, last.id]


def test_a_failing_job_does_not_stop_the_queue(
    store: Store, queue: JobQueue, runner: ScriptedRunner, submit: Callable[..., JobPublic]
) -> None:
    runner.fails = True
    jobs = [submit(), submit()]
    runner.go.set()
    wait_until(final(store, jobs[1]))
    assert [store.job(job.id).state for job in jobs] == [JobState.FAILED] * 2
    assert queue.alive


def test_a_running_job_ends_when_cancelled_and_the_next_one_runs(
    store: Store, queue: JobQueue, runner: ScriptedRunner, submit: Callable[..., JobPublic]
) -> None:
    first, second = submit(), submit()
    assert runner.begun.wait(PATIENCE_S)
    queue.cancel(first.id)
    wait_until(final(store, first))
    runner.go.set()
    wait_until(final(store, second))
    assert [store.job(job.id).state for job in (first, second)] == [JobState.CANCELLED, JobState.DONE]


def test_a_waiting_job_that_is_cancelled_never_runs(
    store: Store, queue: JobQueue, runner: ScriptedRunner, submit: Callable[..., JobPublic]
) -> None:
    first, second, third = submit(), submit(), submit()
    assert runner.begun.wait(PATIENCE_S)
    assert queue.cancel(second.id).state is JobState.CANCELLED
    with pytest.raises(JobConflictError, match="cancelled already"):
        queue.cancel(second.id)
    runner.go.set()
    wait_until(final(store, third))
    assert runner.started == [first.id, third.id]


def test_a_running_job_pauses_and_goes_on_when_resumed(
    store: Store, queue: JobQueue, runner: ScriptedRunner, submit: Callable[..., JobPublic]
) -> None:
    first, second = submit(), submit()
    assert runner.begun.wait(PATIENCE_S)
    assert queue.pause(first.id).state is JobState.PAUSED
    wait_until(lambda: runner.started == [first.id, second.id])
    assert store.job(first.id).state is JobState.PAUSED
    with pytest.raises(JobConflictError, match="is paused"):
        queue.pause(first.id)
    assert queue.resume(first.id).state is JobState.QUEUED
    with pytest.raises(JobConflictError, match="queued, not paused"):
        queue.resume(first.id)
    runner.go.set()
    wait_until(final(store, first))
    assert runner.started == [first.id, second.id, first.id]
    assert queue.trouble == ""


def test_a_job_that_is_paused_and_resumed_at_once_runs_on(
    store: Store, queue: JobQueue, runner: ScriptedRunner, submit: Callable[..., JobPublic]
) -> None:
    job = submit()
    assert runner.begun.wait(PATIENCE_S)
    queue.pause(job.id)
    queue.resume(job.id)
    wait_until(lambda: len(runner.started) == 2)
    runner.go.set()
    wait_until(final(store, job))
    assert store.job(job.id).state is JobState.DONE


def test_a_paused_job_stays_so_over_a_restart_and_can_be_cancelled(store: Store, runner: ScriptedRunner) -> None:
    admitted = admit(JobCreate(space=SPACE), DESCRIPTION)
    table_id = store.ensure_table(admitted.info)
    paused, waiting = (store.create_job(admitted.request, table_id) for _ in range(2))
    store.update_job(paused.id, state=JobState.PAUSED)
    runner.go.set()
    with JobQueue(store, runner) as queue:  # type: ignore[arg-type]
        wait_until(final(store, waiting))
        assert store.job(paused.id).state is JobState.PAUSED
        assert queue.cancel(paused.id).state is JobState.CANCELLED
    assert runner.started == [waiting.id]


def test_a_job_of_high_priority_goes_first(store: Store, queue: JobQueue, runner: ScriptedRunner) -> None:
    admitted = admit(JobCreate(space=SPACE), DESCRIPTION)
    table_id = store.ensure_table(admitted.info)
    jobs = {}
    for priority in (0, -1, 0, 9):
        request = admitted.request.model_copy(update={"priority": priority})
        jobs[len(jobs)] = queue.submit(request, table_id).id
        if len(jobs) == 1:
            assert runner.begun.wait(PATIENCE_S)  # it runs, and is not interrupted
    runner.go.set()
    wait_until(lambda: len(runner.started) == 4)
    assert runner.started == [jobs[0], jobs[3], jobs[2], jobs[1]]


def test_an_unknown_job_can_neither_be_cancelled_nor_followed(queue: JobQueue) -> None:
    with pytest.raises(JobNotFoundError):
        queue.cancel("nope")
    with pytest.raises(JobNotFoundError):
        asyncio.run(_follow(queue, "nope"))


def test_stopping_leaves_jobs_unfinished(store: Store, runner: ScriptedRunner) -> None:
    admitted = admit(JobCreate(space=SPACE), DESCRIPTION)
    queue = JobQueue(store, runner)  # type: ignore[arg-type]
    with queue:
        jobs = [queue.submit(admitted.request, store.ensure_table(admitted.info)) for _ in range(2)]
        assert runner.begun.wait(PATIENCE_S)
    assert not queue.alive
    assert [job.id for job in store.unfinished_jobs()] == [job.id for job in jobs]
    assert not runner.aborted.is_set()


def test_a_visit_that_takes_too_long_is_cut_off_when_stopping(store: Store, runner: ScriptedRunner) -> None:
    admitted = admit(JobCreate(space=SPACE), DESCRIPTION)
    runner.hangs = True
    queue = JobQueue(store, runner, stop_timeout_s=0.05)  # type: ignore[arg-type]
    with queue:
        queue.submit(admitted.request, store.ensure_table(admitted.info))
        assert runner.begun.wait(PATIENCE_S)
    assert runner.aborted.is_set()
    assert not queue.alive


async def _follow(queue: JobQueue, job_id: str) -> list[JobPublic]:
    return [job async for job in await queue.events(job_id)]


def test_events_begin_with_the_present_state_and_end_with_the_last(
    queue: JobQueue, runner: ScriptedRunner, submit: Callable[..., JobPublic]
) -> None:
    job = submit()
    assert runner.begun.wait(PATIENCE_S)

    async def follow() -> list[JobPublic]:
        states = []
        async for state in await queue.events(job.id):
            states.append(state)
            runner.go.set()
        return states

    states = asyncio.run(asyncio.wait_for(follow(), PATIENCE_S))
    assert states[0].state is JobState.PLANNED
    assert states[-1].state is JobState.DONE
    assert len({(state.state, state.fraction) for state in states}) == len(states)


def test_events_of_a_finished_job_are_its_last_state(
    store: Store, queue: JobQueue, runner: ScriptedRunner, submit: Callable[..., JobPublic]
) -> None:
    runner.go.set()
    job = submit()
    wait_until(final(store, job))
    assert asyncio.run(_follow(queue, job.id)) == [store.job(job.id)]


def test_a_cancelled_waiting_job_tells_its_followers(
    queue: JobQueue, runner: ScriptedRunner, submit: Callable[..., JobPublic]
) -> None:
    submit()
    job = submit()

    async def follow() -> list[JobState]:
        states = []
        async for state in await queue.events(job.id):
            states.append(state.state)
            if not state.state.final:
                queue.cancel(job.id)
        return states

    assert asyncio.run(asyncio.wait_for(follow(), PATIENCE_S)) == [JobState.QUEUED, JobState.CANCELLED]


def test_a_job_that_another_process_runs_is_followed_through_the_store(
    store: Store, queue: JobQueue, monkeypatch: pytest.MonkeyPatch, submit: Callable[..., JobPublic]
) -> None:
    monkeypatch.setattr("profiler_service.jobs.following._LOOK_AGAIN_S", 0.02)
    submit()
    job = submit()

    async def follow() -> JobPublic:
        async for state in await queue.events(job.id):
            if state.state is JobState.QUEUED:
                await asyncio.to_thread(store.update_job, job.id, state=JobState.CANCELLED)
        return state

    assert asyncio.run(asyncio.wait_for(follow(), PATIENCE_S)).state is JobState.CANCELLED


def test_many_followers_look_the_job_up_once(
    store: Store, queue: JobQueue, monkeypatch: pytest.MonkeyPatch, submit: Callable[..., JobPublic]
) -> None:
    """Eight hundred streams once read the database four hundred times a second."""
    monkeypatch.setattr("profiler_service.jobs.following._LOOK_AGAIN_S", 0.02)
    submit()
    job = submit()
    looks: list[str] = []
    read = queue.job

    def look(job_id: str) -> JobPublic:
        looks.append(job_id)
        if len(looks) == 4:
            store.update_job(job_id, state=JobState.CANCELLED)
        return read(job_id)

    monkeypatch.setattr(queue, "job", look)

    async def follow() -> list[list[JobPublic]]:
        _first = await queue.events(job.id)
        return list(await asyncio.gather(*(_states(queue, job.id) for _ in range(50))))

    seen = asyncio.run(asyncio.wait_for(follow(), PATIENCE_S))
    assert {states[-1].state for states in seen} == {JobState.CANCELLED}
    assert len(looks) < 10


async def _states(queue: JobQueue, job_id: str) -> list[JobPublic]:
    return [job async for job in await queue.events(job_id)]


def test_a_locked_database_holds_up_neither_the_event_loop_nor_other_callers(
    store: Store, queue: JobQueue, runner: ScriptedRunner, monkeypatch: pytest.MonkeyPatch, submit: Callable[..., JobPublic]
) -> None:
    """A call that waits for the database used to hold the queue's lock, for which streams wait on the event loop."""
    running, waiting = submit(), submit()
    assert runner.begun.wait(PATIENCE_S)
    held_up, go_on, update = threading.Event(), threading.Event(), store.update_job

    def slow_update(job_id: str, **changes: object) -> JobPublic:
        if job_id == waiting.id:
            held_up.set()
            assert go_on.wait(PATIENCE_S)
        return update(job_id, **changes)

    monkeypatch.setattr(store, "update_job", slow_update)
    canceller = threading.Thread(target=queue.cancel, args=(waiting.id,))
    canceller.start()
    assert held_up.wait(PATIENCE_S)

    async def first_state() -> JobState:
        async for state in await queue.events(running.id):
            return state.state
        raise AssertionError("no state")

    assert asyncio.run(asyncio.wait_for(first_state(), PATIENCE_S)) is JobState.PLANNED
    assert submit().state is JobState.QUEUED
    go_on.set()
    canceller.join()
    assert store.job(waiting.id).state is JobState.CANCELLED


class TestLimits:
    def submit(
        self, queue: JobQueue, store: Store, workloads: int | None = None, key: str | None = None, submitted_by: str = ""
    ) -> JobPublic:
        space = create_space(SPACE)
        listed = None if workloads is None else space.operators()[:workloads]
        admitted = admit(JobCreate(space=SPACE, workloads=listed), DESCRIPTION)
        return queue.submit(admitted.request, admitted.info, idempotency_key=key, submitted_by=submitted_by)

    def test_so_many_jobs_may_wait(self, store: Store, runner: ScriptedRunner) -> None:
        with JobQueue(store, runner, limits=QueueLimits(jobs=2)) as queue:  # type: ignore[arg-type]
            self.submit(queue, store)
            assert runner.begun.wait(PATIENCE_S)
            last = [self.submit(queue, store, key=str(number)) for number in range(2)][-1]
            with pytest.raises(QueueFullError, match="2 jobs wait already"):
                self.submit(queue, store)
            other = admit(JobCreate(space=SPACE, protocol=ProtocolName.ISOLATED), DESCRIPTION)
            with pytest.raises(QueueFullError):
                queue.submit(other.request, other.info)
            assert [table.id for table in store.tables()] == [last.table_id]
            assert self.submit(queue, store, key="1") == last  # it is there already
            assert len(store.jobs()) == 3
            queue.cancel(last.id)
            self.submit(queue, store)

    def test_one_token_may_not_take_up_the_queue(self, store: Store, runner: ScriptedRunner) -> None:
        with JobQueue(store, runner, limits=QueueLimits(jobs=4, share=0.5)) as queue:  # type: ignore[arg-type]
            self.submit(queue, store)
            assert runner.begun.wait(PATIENCE_S)
            for _ in range(2):
                self.submit(queue, store, submitted_by="ci")
            with pytest.raises(QueueFullError, match="2 jobs of token 'ci' wait already"):
                self.submit(queue, store, submitted_by="ci")
            assert self.submit(queue, store, submitted_by="search").submitted_by == "search"

    def test_so_many_workloads_may_wait(self, store: Store, runner: ScriptedRunner) -> None:
        with JobQueue(store, runner, limits=QueueLimits(workloads=5)) as queue:  # type: ignore[arg-type]
            self.submit(queue, store)
            assert runner.begun.wait(PATIENCE_S)
            self.submit(queue, store, 8)  # one that is too large by itself would never be taken
            with pytest.raises(QueueFullError, match="8 workloads wait already; with the 3 of this job"):
                self.submit(queue, store, 3)

    def test_old_jobs_are_forgotten(self, store: Store, runner: ScriptedRunner, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("profiler_service.storage.job_rows.ATTEMPTS_COUNT_FOR", timedelta(0))
        runner.go.set()
        with JobQueue(store, runner, limits=QueueLimits(kept_jobs=2)) as queue:  # type: ignore[arg-type]
            jobs = [self.submit(queue, store) for _ in range(5)]
            wait_until(lambda: [job.id for job in store.jobs()] == [jobs[4].id, jobs[3].id])


class TestOtherProcesses:
    def running(self, store: Store) -> JobPublic:
        admitted = admit(JobCreate(space=SPACE), DESCRIPTION)
        job = store.create_job(admitted.request, store.ensure_table(admitted.info))
        return store.update_job(job.id, state=JobState.PLANNED)

    def test_a_job_that_one_has_left_is_taken_up(self, store: Store, runner: ScriptedRunner) -> None:
        """It would be `running` for ever, with nobody who runs it."""
        runner.go.set()
        with JobQueue(store, runner, adopt_s=0.01) as queue:  # type: ignore[arg-type]
            job = self.running(store)
            wait_until(final(store, job))
            assert queue.alive

    def test_a_job_that_one_runs_is_left_to_it(self, store: Store, runner: ScriptedRunner) -> None:
        runner.go.set()
        with JobQueue(store, runner, adopt_s=0.01):  # type: ignore[arg-type]
            admitted = admit(JobCreate(space=SPACE), DESCRIPTION)
            held = store.create_job(admitted.request, store.ensure_table(admitted.info))  # as a command does
            lock = run_lock(store.location, held.id)
            assert lock.acquire()
            store.update_job(held.id, state=JobState.PLANNED)
            wait_until(final(store, self.running(store)))
            assert store.job(held.id).state is JobState.PLANNED
            lock.release()
            wait_until(final(store, held))

    def test_a_job_that_one_runs_waits_behind_the_others(self, store: Store, runner: ScriptedRunner) -> None:
        runner.go.set()
        runner.held.add((held := self.running(store)).id)
        other = self.running(store)
        with JobQueue(store, runner, retry_s=0.01):  # type: ignore[arg-type]
            wait_until(final(store, other))
            assert not store.job(held.id).state.final
            runner.held.clear()
            wait_until(final(store, held))

    def test_a_job_of_another_box_is_left_to_it(self, store: Store, runner: ScriptedRunner) -> None:
        """It has a target of its own, and would fail here. Nobody runs it just now, as far as the database knows."""
        runner.go.set()
        admitted = admit(JobCreate(space=SPACE), DESCRIPTION)
        elsewhere = admitted.info.model_copy(update={"target": admitted.info.target.model_copy(update={"threads": 7})})
        theirs = store.create_job(admitted.request, store.ensure_table(elsewhere), box="elsewhere")
        store.update_job(theirs.id, state=JobState.PAUSED)
        left = store.create_job(admitted.request, store.ensure_table(elsewhere), box="elsewhere")
        store.update_job(left.id, state=JobState.PLANNED)
        with JobQueue(store, runner, adopt_s=0.01, owner=Owner(DESCRIPTION.target.id(), "here")) as queue:  # type: ignore[arg-type]
            assert queue.resume(theirs.id).state is JobState.QUEUED
            wait_until(final(store, self.running(store)))
            wait_until(final(store, self.running(store)))
        assert {store.job(job.id).state for job in (theirs, left)} == {JobState.QUEUED, JobState.PLANNED}
