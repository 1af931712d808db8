"""A real service with a real runtime that is killed at random moments, stopped, asked twice, and left by its clients."""

from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import httpx
import psutil
import psycopg
import pytest

from models.spaces.registry import create_space
from models.spec.architectures import SpaceSpec
from models.spec.measurements import Budget
from models.spec.wire import JobCreate, JobState
from profiler_service.admission import admit
from profiler_service.storage.location import Location, PostgresUrl
from profiler_service.storage.postgres_database import lock_key
from tests.fault.checker import Event, violations
from tests.fault.conftest import NewDatabase
from tests.fault.processes import Process
from tests.support.fake_workers import DESCRIPTION, FakeWorkers
from tests.support.local_service import PROFILER_SERVICE, ServiceProcess, serving, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(7200)]

SPACE = SpaceSpec(name="fasterseg", input_size=(64, 64), parameters={"layers": 3, "widths": (4,), "base_channels": 3})
KEYS = [operator.key() for operator in create_space(SPACE).operators()]
LONGEST_LIFE_S = 3.0
"""A service measures all of this space in about four seconds on an idle core, so that most lives end in the middle."""


def submit(url: str, log: list[Event]) -> str:
    """The same request under one key, four times at once; the job's id."""
    request = {"space": SPACE.model_dump(mode="json"), "budget": "quick"}

    def post(_: int) -> httpx.Response:
        return httpx.post(f"{url}/v1/jobs", json=request, headers={"Idempotency-Key": "the only one"}, timeout=60)

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(post, range(4)))
    assert {answer.status_code for answer in answers} <= {200, 202}, [answer.text for answer in answers]
    jobs = {answer.json()["id"]: answer.json()["table_id"] for answer in answers}
    assert len(jobs) == 1
    ((job, table),) = jobs.items()
    log.append({"event": "submitted", "job": job, "table": table, "keys": KEYS, "token": "the only one"})
    return str(job)


def leave_in_the_middle(url: str, job: str) -> None:
    """Clients that go while they are answered: one follows the job, one downloads the tables."""
    for path in (f"/v1/jobs/{job}/events", "/v1/tables"):
        with httpx.stream("GET", f"{url}{path}", timeout=60) as response:
            assert response.status_code == 200
            next(response.iter_raw(1))


def note_what_is_served(url: str, log: list[Event]) -> None:
    """Whoever has seen a value may rely on it."""
    for table in httpx.get(f"{url}/v1/tables", timeout=60).json():
        served = httpx.get(f"{url}/v1/tables/{table['id']}", headers={"Accept": "application/json"}, timeout=60).json()
        for entry in served["entries"]:
            if entry["status"] == "ok":
                said = {"by": "a service", "table": table["id"], "key": entry["key"], "status": "ok"}
                log.append({"event": "saved", **said})


def stop_and_go_on(service: ServiceProcess, database: str) -> None:
    """While a service is stopped, what it holds is its own."""
    service.process.send_signal(signal.SIGSTOP)
    try:
        command = [str(PROFILER_SERVICE), "serve", "--port", "0", "--database", database]
        second = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    finally:
        service.process.send_signal(signal.SIGCONT)
    assert second.returncode == 3
    assert "another service uses the database" in second.stderr
    assert httpx.get(f"{service.url}/healthz", timeout=60).status_code == 200


def text_of(location: Location) -> str:
    return location.secret() if isinstance(location, PostgresUrl) else str(location)


def test_a_service_that_is_killed_again_and_again_loses_nothing(new_database: NewDatabase, tmp_path: Path, full: bool) -> None:
    location, log, moments = new_database(), list[Event](), random.Random()
    database, file, kills = text_of(location), tmp_path / "service", 50 if full else 1
    for number in range(kills):
        with serving(file, database=database) as service:
            job = submit(service.url, log)
            leave_in_the_middle(service.url, job)
            if number == 0:
                stop_and_go_on(service, database)
            time.sleep(moments.uniform(0.0, LONGEST_LIFE_S))
            note_what_is_served(service.url, log)
            family = psutil.Process(service.process.pid).children(recursive=True)
            service.stop(signal.SIGKILL)
        _, alive = psutil.wait_procs(family, timeout=60)
        assert alive == [], "workers end with their service"
        assert violations(location, log) == []
    with serving(file, database=database) as service:
        job = submit(service.url, log)
        wait_until(lambda: httpx.get(f"{service.url}/v1/jobs/{job}", timeout=60).json()["state"] == "done", timeout_s=240)
        note_what_is_served(service.url, log)
        assert service.stop() == 0
    assert violations(location, log, over=True) == []


def test_a_job_waits_while_another_process_locks_the_database(new_database: NewDatabase, tmp_path: Path, full: bool) -> None:
    """For longer than any attempt waits: 90 s at full length."""
    location, log = new_database(), list[Event]()
    begun, ended, hold_s = threading.Event(), threading.Event(), 90.0 if full else 3.0
    phases: set[str] = set()

    def hold() -> None:
        begun.wait(60)
        if isinstance(location, PostgresUrl):
            with psycopg.connect(location.secret()) as server:
                server.execute("SELECT pg_advisory_xact_lock(%s)", (lock_key("write"),))
                locked.set()
                time.sleep(hold_s)
        else:
            with closing(sqlite3.connect(location, isolation_level=None)) as file:
                file.execute("BEGIN IMMEDIATE")
                locked.set()
                time.sleep(hold_s)
                file.execute("ROLLBACK")
        ended.set()

    def lock_now(group: int) -> None:
        if group == 1:
            begun.set()
            assert locked.wait(60)

    locked = threading.Event()
    holder = threading.Thread(target=hold)
    holder.start()
    process = Process(location, tmp_path, log, "one", workers=FakeWorkers(on_group=lock_now))
    admitted = admit(JobCreate(space=SPACE, budget=Budget.QUICK), DESCRIPTION)
    job = process.store.create_job(admitted.request, process.store.ensure_table(admitted.info))
    log.append({"event": "submitted", "job": job.id, "table": job.table_id, "keys": KEYS, "token": None})
    process.run(job.id, on_progress=lambda state: phases.add(state.phase))
    holder.join()
    assert ended.is_set()
    assert any("another process keeps it locked" in phase for phase in phases)
    assert violations(location, log, over=True) == []
    assert {event["state"] for event in log if event["event"] == "ended"} == {JobState.DONE}
