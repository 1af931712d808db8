"""The service over a real socket: queue, events, caching and limits as a client meets them."""

from __future__ import annotations

import gzip
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import httpx
import httpx_sse
import pytest

from models.spec.measurements import Measurement
from models.spec.operators import OperatorSpec
from models.spec.table_files import from_bytes
from models.spec.targets import TargetSpec
from models.spec.wire import ARROW_MEDIA_TYPE, JobCounts, JobCreate, JobPublic, JobState
from profiler_service.admission import admit
from profiler_service.api.app import create_app
from profiler_service.errors import StorageError
from profiler_service.jobs.queue import JobQueue
from profiler_service.jobs.waiting import QueueLimits
from profiler_service.settings import Settings
from profiler_service.storage.sqlite_database import PRAGMAS
from profiler_service.storage.store import Store
from profiler_service.worker.protocol import BackendDescription
from tests.support.local_service import running, wait_until

JOB = {"space": {"name": "fasterseg", "input_size": [64, 64]}, "budget": "quick"}
BACKEND = BackendDescription(
    target=TargetSpec(device="Test CPU", backend="paper", threads=1),
    dtypes=("float32",),
    reads_onnx=False,
    builds_on_device=False,
)
ENTRIES = 20


def operator(channels: int) -> OperatorSpec:
    return OperatorSpec(kind="conv3x3", in_channels=channels, out_channels=channels, height=8, width=8)


class PaperRunner:
    """Measures by writing down numbers, one at each permission."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.permission = threading.Semaphore(0)

    def run(
        self,
        job_id: str,
        on_progress: Callable[[JobPublic], None],
        cancelled: threading.Event,
        interrupted: threading.Event,
    ) -> None:
        table_id = self.store.job(job_id).table_id
        on_progress(self.store.update_job(job_id, state=JobState.PLANNED, counts=JobCounts(total=ENTRIES)))
        for done in range(1, ENTRIES + 1):
            while not self.permission.acquire(timeout=0.02):
                if interrupted.is_set():
                    return
                if cancelled.is_set():
                    on_progress(self.store.update_job(job_id, state=JobState.CANCELLED))
                    return
            self.store.save_measurement(table_id, Measurement(workload=operator(done), value_ms=1.0 / done))
            counts = JobCounts(total=ENTRIES, measured=done)
            on_progress(self.store.update_job(job_id, counts=counts, fraction=done / ENTRIES))
        on_progress(self.store.update_job(job_id, state=JobState.DONE))

    def abort(self, job_id: str | None = None) -> None:
        return


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.load(database=tmp_path / "opclock.sqlite", heartbeat_s=0.2)


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    with Store.open(settings.database) as store:
        yield store


@pytest.fixture
def runner(store: Store) -> PaperRunner:
    return PaperRunner(store)


@pytest.fixture
def client(settings: Settings, store: Store, runner: PaperRunner) -> Iterator[httpx.Client]:
    with JobQueue(store, runner) as queue:  # type: ignore[arg-type]
        app = create_app(settings, store=store, queue=queue, backend=BACKEND)
        with running(app) as url, httpx.Client(base_url=url, timeout=30) as client:
            yield client


def states(client: httpx.Client, job_id: str) -> Iterator[JobPublic]:
    with httpx_sse.connect_sse(client, "GET", f"/v1/jobs/{job_id}/events") as source:
        for event in source.iter_sse():
            if event.data:
                yield JobPublic.parse_json(event.data)


def test_a_job_from_request_to_table(client: httpx.Client, runner: PaperRunner) -> None:
    created = client.post("/v1/jobs", json=JOB)
    job_id, table_id = created.json()["id"], created.json()["table_id"]
    seen = []
    for job in states(client, job_id):
        seen.append(job)
        runner.permission.release()

    assert seen[-1].state is JobState.DONE
    assert seen[-1].counts.measured == ENTRIES
    assert [job.counts.measured for job in seen] == sorted(job.counts.measured for job in seen)
    assert len(seen) > 2, "only the ends were told"
    body = client.get(f"/v1/tables/{table_id}", headers={"Accept": ARROW_MEDIA_TYPE}).content
    assert from_bytes(body).values_ms() == {operator(n).key(): 1.0 / n for n in range(1, ENTRIES + 1)}


def test_who_comes_late_is_told_the_end(client: httpx.Client, runner: PaperRunner) -> None:
    job_id = client.post("/v1/jobs", json=JOB).json()["id"]
    runner.permission.release(ENTRIES)
    wait_until(lambda: client.get(f"/v1/jobs/{job_id}").json()["state"] == "done")
    assert [job.state for job in states(client, job_id)] == [JobState.DONE]


def test_a_silent_stream_is_kept_alive_by_comments(client: httpx.Client) -> None:
    job_id = client.post("/v1/jobs", json=JOB).json()["id"]
    with client.stream("GET", f"/v1/jobs/{job_id}/events") as response:
        assert any(line.startswith(": ping") for line in response.iter_lines())


def test_many_may_follow_one_job(client: httpx.Client, runner: PaperRunner) -> None:
    job_id = client.post("/v1/jobs", json=JOB).json()["id"]
    ends: list[JobPublic] = []

    def follow() -> None:
        with httpx.Client(base_url=client.base_url, timeout=30) as own:
            ends.append(list(states(own, job_id))[-1])

    followers = [threading.Thread(target=follow) for _ in range(8)]
    for follower in followers:
        follower.start()
    # More streams than the pool of threads for ordinary calls would not matter: other calls are answered meanwhile.
    assert client.get("/healthz").status_code == 200
    runner.permission.release(ENTRIES)
    for follower in followers:
        follower.join(30)
    assert [job.state for job in ends] == [JobState.DONE] * len(followers)


def test_a_running_job_is_called_off_and_keeps_what_it_has(client: httpx.Client, runner: PaperRunner, store: Store) -> None:
    created = client.post("/v1/jobs", json=JOB).json()
    runner.permission.release(3)
    wait_until(lambda: client.get(f"/v1/jobs/{created['id']}").json()["counts"]["measured"] == 3)

    assert client.delete(f"/v1/jobs/{created['id']}").status_code == 202

    wait_until(lambda: client.get(f"/v1/jobs/{created['id']}").json()["state"] == "cancelled")
    assert len(store.table(created["table_id"]).entries) == 3
    assert client.delete(f"/v1/jobs/{created['id']}").status_code == 409


def test_a_table_that_grows_is_never_sent_under_a_wrong_tag(client: httpx.Client, runner: PaperRunner) -> None:
    """A strong tag names the bytes it came with, even if a measurement is saved between looking and sending."""
    created = client.post("/v1/jobs", json=JOB).json()
    path = f"/v1/tables/{created['table_id']}"
    bodies: dict[str, bytes] = {}
    while client.get(f"/v1/jobs/{created['id']}").json()["state"] != "done":
        runner.permission.release()
        response = client.get(path, headers={"Accept": ARROW_MEDIA_TYPE})
        assert bodies.setdefault(response.headers["ETag"], response.content) == response.content
    assert len(bodies) == len(set(bodies.values())) > 2
    last = client.get(path, headers={"Accept": ARROW_MEDIA_TYPE}).headers["ETag"]
    assert client.get(path, headers={"Accept": ARROW_MEDIA_TYPE, "If-None-Match": last}).status_code == 304


def test_the_bytes_on_the_wire_are_compressed(client: httpx.Client, runner: PaperRunner) -> None:
    created = client.post("/v1/jobs", json=JOB).json()
    runner.permission.release(ENTRIES)
    wait_until(lambda: client.get(f"/v1/jobs/{created['id']}").json()["state"] == "done")
    path = f"/v1/tables/{created['table_id']}"

    with client.stream("GET", path, headers={"Accept": "text/csv", "Accept-Encoding": "gzip"}) as response:
        sent = b"".join(response.iter_raw())

    assert int(response.headers["Content-Length"]) == len(sent)
    plain = client.get(path, headers={"Accept": "text/csv", "Accept-Encoding": "identity"}).content
    assert gzip.decompress(sent) == plain


def test_a_body_that_never_ends_is_cut_off(client: httpx.Client, settings: Settings) -> None:
    """The limit counts what arrives: a chunked body announces no length."""
    host, port = client.base_url.host, client.base_url.port
    with socket.create_connection((host, port or 0), timeout=30) as connection:
        connection.sendall(
            b"POST /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        chunk = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
        sent = 0
        try:
            while sent <= 4 * settings.max_request_bytes:
                connection.sendall(chunk)
                sent += 0x100000
        except OSError:
            pass  # the service has hung up
        assert sent < 4 * settings.max_request_bytes
        try:
            answer = connection.recv(65_536)
        except ConnectionResetError:
            return  # it hung up before its answer was read
        assert b" 413 " in answer.splitlines()[0]
        assert b'"too_large"' in answer


def test_a_full_disk_is_told_and_nothing_is_lost(settings: Settings, tmp_path: Path) -> None:
    with Store.open(tmp_path / "full.sqlite", pragmas=PRAGMAS | {"max_page_count": "30"}) as store:
        admitted = admit(JobCreate.parse(JOB), BACKEND)
        table_id = store.ensure_table(admitted.info)
        accepted = []
        with suppress(StorageError):
            while True:
                accepted.append(store.create_job(admitted.request, table_id).id)
        limits = QueueLimits(jobs=10_000)
        with JobQueue(store, PaperRunner(store), limits=limits) as queue:  # type: ignore[arg-type]
            app = create_app(settings, store=store, queue=queue, backend=BACKEND)
            with running(app) as url, httpx.Client(base_url=url, timeout=30) as client:
                responses = [client.post("/v1/jobs", json=JOB) for _ in range(3)]
                listed = [job["id"] for job in client.get("/v1/jobs", params={"limit": 1000}).json()]
                alive, ready = client.get("/healthz"), client.get("/readyz")

    assert [response.status_code for response in responses] == [503] * 3
    error = responses[-1].json()["error"]
    assert error["code"] == "storage"
    assert "the disk is full" in error["message"]
    assert "Free some space" in error["hint"]
    assert set(listed) == set(accepted)
    assert alive.status_code == 200
    assert ready.status_code == 200, "the thread that runs jobs has survived"


def test_no_route_takes_a_dtype_that_the_backend_lacks_for_another(
    settings: Settings, store: Store, runner: PaperRunner
) -> None:
    """A second backend measures half precision; the same request is another table there, and refused by the first."""
    half = json.loads(json.dumps(JOB))
    half["space"]["dtype"] = "float16"
    with JobQueue(store, runner) as queue:  # type: ignore[arg-type]
        answers = []
        for backend in (BACKEND, replace(BACKEND, dtypes=("float32", "float16"))):
            with running(create_app(settings, store=store, queue=queue, backend=backend)) as url:
                answers.append(httpx.post(f"{url}/v1/jobs", json=half))
    assert [answer.status_code for answer in answers] == [422, 202]
    assert "float16" in answers[0].json()["error"]["message"]
