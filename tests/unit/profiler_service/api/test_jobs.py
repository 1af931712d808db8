"""Jobs over HTTP: asked for once however often the request is repeated, listed, followed, called off."""

from __future__ import annotations

import json

import pytest
from starlette.testclient import TestClient

from models.spaces.registry import create_space
from models.spec.architectures import SpaceSpec
from models.spec.wire import JobCreate, JobPublic, JobState
from profiler_service.errors import QueueFullError
from profiler_service.jobs.following import JobTexts
from profiler_service.storage.store import Store
from tests.support import table_samples as samples
from tests.unit.profiler_service.api.conftest import BACKEND, IdleQueue

JOB = {"space": {"name": "fasterseg", "input_size": [128, 256]}, "budget": "quick"}


def test_a_job_is_accepted_with_its_place_and_its_table(client: TestClient, store: Store) -> None:
    response = client.post("/v1/jobs", json=JOB)

    job = JobPublic.parse_json(response.content)
    assert response.status_code == 202
    assert response.headers["Location"] == f"/v1/jobs/{job.id}"
    assert job.state is JobState.QUEUED
    assert client.get(response.headers["Location"]).json() == response.json()
    assert store.table_info(job.table_id).target == BACKEND.target


def test_the_spaces_defaults_are_settled_before_anything_is_named_by_them(client: TestClient, store: Store) -> None:
    job = JobPublic.parse_json(client.post("/v1/jobs", json=JOB).content)

    settled = create_space(SpaceSpec(name="fasterseg", input_size=(128, 256))).spec
    assert job.request.space == settled
    assert store.table_info(job.table_id).space == settled


def test_protocols_go_to_tables_of_their_own(client: TestClient) -> None:
    ids = {client.post("/v1/jobs", json=JOB | {"protocol": name}).json()["table_id"] for name in ("in_context", "isolated")}
    assert len(ids) == 2


def test_a_repeated_request_makes_one_job(client: TestClient, store: Store) -> None:
    first, again = (client.post("/v1/jobs", json=JOB, headers={"Idempotency-Key": "k1"}) for _ in range(2))
    assert first.status_code == again.status_code == 202
    assert first.json()["id"] == again.json()["id"]
    assert len(store.jobs()) == 1


def test_a_full_queue_says_when_to_come_back(client: TestClient, queue: IdleQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> JobPublic:
        raise QueueFullError("100 jobs wait already, as many as may", hint="Submit it again when some have ended.")

    monkeypatch.setattr(queue, "submit", refuse)
    response = client.post("/v1/jobs", json=JOB)
    assert (response.status_code, response.headers["Retry-After"]) == (429, "60")
    assert response.json()["error"]["code"] == "queue_full"


def test_the_json_of_a_state_is_made_once_for_all_followers(store: Store) -> None:
    table_id = store.ensure_table(samples.info())
    job = store.create_job(JobCreate(space=samples.SPACE), table_id)
    texts, later = JobTexts(), job.model_copy(update={"fraction": 0.5})
    assert texts.of(job) is texts.of(job)
    assert json.loads(texts.of(later))["fraction"] == 0.5
    assert json.loads(texts.of(job))["fraction"] == 0.0


def test_a_key_cannot_stand_for_two_requests(client: TestClient) -> None:
    client.post("/v1/jobs", json=JOB, headers={"Idempotency-Key": "k1"})
    response = client.post("/v1/jobs", json=JOB | {"budget": "normal"}, headers={"Idempotency-Key": "k1"})
    assert response.status_code == 409
    assert response.json()["error"]["code"] == "conflict"


def test_what_is_refused_leaves_no_empty_table(client: TestClient, store: Store) -> None:
    job = client.post("/v1/jobs", json=JOB, headers={"Idempotency-Key": "k1"}).json()
    response = client.post("/v1/jobs", json=JOB | {"protocol": "isolated"}, headers={"Idempotency-Key": "k1"})
    assert response.status_code == 409
    assert [table.id for table in store.tables()] == [job["table_id"]]


def test_a_key_is_of_bounded_length(client: TestClient) -> None:
    response = client.post("/v1/jobs", json=JOB, headers={"Idempotency-Key": "k" * 129})
    assert response.status_code == 422
    assert "idempotency-key" in response.json()["error"]["message"].lower()


def test_jobs_are_listed_newest_first_and_as_many_as_asked_for(client: TestClient) -> None:
    ids = [client.post("/v1/jobs", json=JOB).json()["id"] for _ in range(3)]
    assert [job["id"] for job in client.get("/v1/jobs").json()] == ids[::-1]
    assert [job["id"] for job in client.get("/v1/jobs?limit=1").json()] == ids[-1:]
    assert client.get("/v1/jobs?limit=0").status_code == 422


def test_a_job_can_be_called_off_once(client: TestClient) -> None:
    job_id = client.post("/v1/jobs", json=JOB).json()["id"]

    assert client.delete(f"/v1/jobs/{job_id}").json()["state"] == "cancelled"
    assert client.delete(f"/v1/jobs/{job_id}").status_code == 409
    assert client.delete("/v1/jobs/nope").status_code == 404


def test_a_job_can_be_paused_and_resumed(client: TestClient) -> None:
    path = f"/v1/jobs/{client.post('/v1/jobs', json=JOB).json()['id']}"
    assert client.put(f"{path}/pause").json()["state"] == "paused"
    again = client.put(f"{path}/pause")
    assert (again.status_code, again.json()["error"]["code"]) == (409, "conflict")
    assert client.put(f"{path}/resume").json()["state"] == "queued"
    assert client.put("/v1/jobs/nonesuch/pause").status_code == 404


def test_events_are_the_jobs_states_and_end_with_it(client: TestClient, queue: IdleQueue) -> None:
    job = JobPublic.parse_json(client.post("/v1/jobs", json=JOB).content)
    queue.script = [job.model_copy(update={"state": state}) for state in (JobState.QUEUED, JobState.PLANNED, JobState.DONE)]

    response = client.get(f"/v1/jobs/{job.id}/events")

    assert response.headers["Content-Type"].startswith("text/event-stream")
    assert response.headers["Cache-Control"] == "no-store"
    events = [block.splitlines() for block in response.text.split("\r\n\r\n") if block]
    assert {event[0] for event in events} == {"event: job"}
    states = [JobPublic.model_validate(json.loads(event[1].removeprefix("data: "))).state for event in events]
    assert states == [JobState.QUEUED, JobState.PLANNED, JobState.DONE]
