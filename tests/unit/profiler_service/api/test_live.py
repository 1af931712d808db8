"""Counts of jobs as pages follow them, and a job's lines of the log."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import pytest

from models.spec.wire import JobCounts, JobCreate, JobState
from profiler_service.logs import JobLog
from profiler_service.storage.store import Store
from profiler_service.web import live, overview
from profiler_service.web.live import LiveCounts
from tests.support import table_samples as samples
from tests.unit.profiler_service.api.conftest import TestClient


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "BUSY_S", 0.01)
    monkeypatch.setattr(live, "IDLE_S", 0.01)


class CountingStore:
    """The store, and how often it was asked."""

    def __init__(self, store: Store) -> None:
        self._store, self.asked = store, 0

    def progress(self, limit: int) -> object:
        self.asked += 1
        return self._store.progress(limit)


def test_readers_hear_changes_once_and_go_on_where_they_were(store: Store) -> None:
    job = store.create_job(JobCreate(space=samples.SPACE), store.ensure_table(samples.info()))
    counted = CountingStore(store)
    counts = LiveCounts(counted)  # type: ignore[arg-type]

    async def follow() -> None:
        one, other = counts.follow(), counts.follow()
        first = await anext(one)
        assert (await anext(other)).id == first.id
        told = json.loads(first.text)["jobs"][0]
        assert told["shown"]["state"] == "queued"
        assert "request" not in told
        await other.aclose()
        back = counts.follow(first.id)
        waits = asyncio.ensure_future(anext(back))
        await asyncio.sleep(0.1)
        assert not waits.done(), "it has these counts already"
        store.update_job(job.id, state=JobState.PLANNED, counts=JobCounts(total=5, measured=2))
        assert json.loads((await waits).text)["jobs"][0]["shown"]["measured"] == "2"
        late = counts.follow(first.id)
        assert (await anext(late)).id != first.id
        for reader in (one, back, late):
            await reader.aclose()
        asked = counted.asked
        await asyncio.sleep(0.1)
        assert counted.asked <= asked + 1, "nobody looks any more"

    asyncio.run(follow())


def test_a_stream_ends_now_and_then_so_that_its_session_is_looked_at(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overview, "STREAM_S", 0.3)
    text = client.get("/ui/events").text  # does not return before the end
    identity = re.search(r"id: (\S+)\r?\nevent: counts\r?\ndata: {", text)
    assert identity is not None
    again = client.get("/ui/events", headers={"Last-Event-ID": identity[1]}).text
    assert client.app.state.web.live._readers == set()  # type: ignore[attr-defined]
    assert "data: {" not in again, "it has these counts already"
    assert "data: {" in client.get("/ui/events").text, "who has none gets them"


def test_the_lines_of_a_job_are_kept_within_bounds(tmp_path: Path) -> None:
    log = JobLog(jobs=2, lines=3)
    for number in range(5):
        event = {"event": "visited", "job": "a", "level": "info", "timestamp": "2026-01-02T03:04:05.678Z", "number": number}
        assert log(None, "info", event) is event
    assert log.lines("a") == [f"2026-01-02 03:04:05 info: visited number={number}" for number in (2, 3, 4)]
    log(None, "info", {"event": "request"})
    for job in ("b", "c"):
        log(None, "info", {"event": "x" * 5_000, "job": job})
    assert log.lines("a") == []
    assert len(log.lines("c")[0]) == 1_000
