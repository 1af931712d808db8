"""The calls of a service, its tables on disk, and jobs followed to their end."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from models.spec.errors import ErrorCode
from models.spec.measurements import Status
from models.spec.table_files import TableFormat, to_bytes
from models.spec.tables import Table
from models.spec.wire import JobCreate, JobState
from nas_client.errors import IncompatibleServiceError, JobFailedError, ServiceError
from nas_client.local_tables import CachedTable, TableCache
from nas_client.service import ServiceClient, run_job
from nas_client.settings import ClientSettings
from nas_client.transport import Transport
from tests.support.fake_service import SPACE, TARGET, FakeService, Reply, make_table, transport

URL = "http://box:1"
TABLE = make_table()
TABLE_ID = TABLE.info.id()
REQUEST = JobCreate(space=SPACE)


class Client(ServiceClient):
    """A client of a fake service that remembers what it was told."""

    def __init__(self, http: httpx.BaseTransport, folder: Path, **settings: object) -> None:
        self.notices: list[str] = []
        patience: dict[str, object] = {"backoff_s": 1e-3, "backoff_max_s": 1e-3, "poll_s": 1e-3, "cache_dir": folder}
        chosen = ClientSettings.load(**patience | settings)
        super().__init__(Transport(URL, chosen, http=http), chosen, notice=self.notices.append)


def test_a_table_comes_back_whole_and_is_kept(tmp_path: Path) -> None:
    service = FakeService(TABLE)
    with Client(transport(service), tmp_path) as client:
        assert client.table(TABLE_ID) == TABLE
        assert client.table(TABLE_ID) == TABLE
    kept = TableCache(tmp_path).get(URL, TABLE_ID)
    assert kept is not None
    assert kept.etag


def test_an_unchanged_table_is_not_sent_again(tmp_path: Path) -> None:
    statuses: list[int] = []
    inner = transport(FakeService(TABLE))

    def count(request: httpx.Request) -> httpx.Response:
        response = inner.handler(request)
        assert isinstance(response, httpx.Response)
        statuses.append(response.status_code)
        return response

    for _ in range(2):  # two processes
        with Client(httpx.MockTransport(count), tmp_path) as client:
            assert client.table(TABLE_ID) == TABLE
    assert statuses == [200, 304]


def test_a_changed_table_is_fetched(tmp_path: Path) -> None:
    service = FakeService(TABLE)
    smaller = Table(info=TABLE.info, entries=TABLE.entries[1:])
    with Client(transport(service), tmp_path) as client:
        client.table(TABLE_ID)
        service.tables[TABLE_ID] = smaller
        assert client.table(TABLE_ID) == smaller
        service.tables[TABLE_ID] = TABLE
        assert client.table(TABLE_ID) == TABLE


@pytest.mark.parametrize("damage", ["truncate", "flip", "another release"])
def test_a_damaged_copy_is_fetched_again(tmp_path: Path, damage: str) -> None:
    cache = TableCache(tmp_path)
    with Client(transport(FakeService(TABLE)), tmp_path) as client:
        client.table(TABLE_ID)
        path = cache.path(URL, TABLE_ID)
        content = path.read_bytes()
        if damage == "another release":  # whole, with the right digest, and yet no table that this release reads
            kept = cache.get(URL, TABLE_ID)
            assert kept is not None
            cache.put(URL, TABLE_ID, type(kept)(kept.etag, b"ARROW2 of the future"))
        else:
            path.write_bytes(content[:-100] if damage == "truncate" else content[:-1] + bytes([content[-1] ^ 1]))
        assert client.table(TABLE_ID) == TABLE
    assert path.read_bytes() == content
    assert client.notices == []


def test_a_table_is_had_even_where_no_copy_can_be_kept(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with Client(transport(FakeService(TABLE)), tmp_path / "file") as client:
        assert client.table(TABLE_ID) == TABLE
    (notice,) = client.notices
    assert notice.startswith(f"no copy of the table can be stored in {tmp_path / 'file'}")


def test_what_is_no_table_is_refused_and_not_kept(tmp_path: Path) -> None:
    answers = [httpx.Response(200, headers={"Opclock-Api-Version": "2", "ETag": '"x"'}, content=b"no table")]
    with (
        Client(httpx.MockTransport(lambda _: answers.pop()), tmp_path) as client,
        pytest.raises(IncompatibleServiceError, match=f"something else than table {TABLE_ID}"),
    ):
        client.table(TABLE_ID)
    assert TableCache(tmp_path).get(URL, TABLE_ID) is None


def test_an_unknown_table_is_the_services_error(tmp_path: Path) -> None:
    with Client(transport(FakeService()), tmp_path) as client, pytest.raises(ServiceError, match="no /v1/tables/"):
        client.table("../jobs")
    assert client.notices == []


@pytest.mark.parametrize("body", [b"[]", b"{", b'{"id": 1}', b"\xff"])
def test_answers_of_another_shape_are_refused(tmp_path: Path, body: bytes) -> None:
    http = httpx.MockTransport(lambda _: httpx.Response(200, headers={"Opclock-Api-Version": "2"}, content=body))
    with Client(http, tmp_path) as client, pytest.raises(IncompatibleServiceError, match="does not understand"):
        client.target()
    with Client(http, tmp_path) as client:
        if body == b"[]":
            assert client.tables() == []
        else:
            with pytest.raises(IncompatibleServiceError, match="/v1/tables"):
                client.tables()


def test_lookup_keeps_the_order_and_says_what_is_missing(tmp_path: Path) -> None:
    service = FakeService()
    operators = tuple(entry.workload for entry in TABLE.entries)
    with Client(transport(service), tmp_path) as client:
        assert client.lookup(TABLE_ID, operators) == [None] * len(operators)
        client.create_job(REQUEST.model_copy(update={"workloads": operators[:2]}))
        first, second, *others = client.lookup(TABLE_ID, (operators[1], operators[0], operators[2]))
    assert first is not None
    assert second is not None
    assert (first.workload, second.workload) == (operators[1], operators[0])
    assert others == [None]


def test_two_jobs_are_two_jobs(tmp_path: Path) -> None:
    service = FakeService()
    with Client(transport(service), tmp_path) as client:
        assert client.create_job(REQUEST).id != client.create_job(REQUEST).id


def follow(service: FakeService, folder: Path, **settings: object) -> tuple[list[JobState], Client]:
    client = Client(transport(service), folder, **settings)
    job = client.create_job(REQUEST)
    return [state.state for state in client.follow(job.id)], client


def test_a_job_is_followed_by_its_events(tmp_path: Path) -> None:
    service = FakeService()
    states, client = follow(service, tmp_path)
    assert states == [JobState.PLANNED, JobState.DONE]
    assert service.requests == ["POST /v1/jobs", "GET /v1/jobs/job0/events"]
    assert client.notices == []


def test_a_stream_that_ends_early_is_opened_again(tmp_path: Path) -> None:
    service = FakeService()
    service.final = JobState.PLANNED
    service.streams = [[JobState.PLANNED], [JobState.PLANNED, JobState.DONE]]
    states, client = follow(service, tmp_path)
    assert states == [JobState.PLANNED] * 3 + [JobState.DONE]  # the second of them was asked for in between
    assert client.notices == []


def test_streams_cut_after_their_first_event_are_not_opened_without_pause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr("nas_client.service.time.sleep", waits.append)
    service = FakeService()
    service.final = JobState.PLANNED
    service.streams = [*([[JobState.PLANNED]] * 9), [JobState.DONE]]
    states, client = follow(service, tmp_path, poll_s=0.5)
    assert states == [JobState.PLANNED] * 18 + [JobState.DONE]
    assert waits == [0.5] * 9
    assert client.notices == []


def test_a_job_that_ended_during_a_break_is_noticed(tmp_path: Path) -> None:
    service = FakeService()
    service.streams = [[JobState.PLANNED], [JobState.PLANNED]]
    states, _ = follow(service, tmp_path)
    assert states == [JobState.PLANNED, JobState.DONE]


def test_streams_that_keep_breaking_are_given_up_and_that_is_said(tmp_path: Path) -> None:
    service = FakeService()
    service.final = JobState.PLANNED
    service.streams = [[]]
    client = Client(transport(service), tmp_path, event_reconnects=2)
    job = client.create_job(REQUEST)
    states = []
    for state in client.follow(job.id):
        states.append(state.state)
        if len(states) == 8:
            key = next(iter(service.created))
            service.created[key] = service.created[key].model_copy(update={"state": JobState.CANCELLED})
    assert states == [JobState.PLANNED] * 8 + [JobState.CANCELLED]
    assert service.requests.count("GET /v1/jobs/job0/events") == 3
    (notice,) = client.notices
    assert notice == "the event stream of job job0 keeps breaking (it ended before the job did); asking every 0.001 s instead"


class Crowded(FakeService):
    """Refuses that many event streams, as a service does that has no place for one."""

    status, code, refused = 429, ErrorCode.TOO_MANY_REQUESTS, 2

    def answer(self, method: str, path: str, headers: httpx.Headers, body: bytes) -> Reply:
        if path.endswith("/events") and self.refused:
            self.refused -= 1
            self.requests.append(f"{method} {path}")
            return self._error(self.status, self.code, "no place for a stream", "")
        return super().answer(method, path, headers, body)


@pytest.mark.parametrize(("status", "code"), [(429, ErrorCode.TOO_MANY_REQUESTS), (503, ErrorCode.BUSY)])
def test_a_stream_that_is_refused_for_now_is_opened_later(tmp_path: Path, status: int, code: ErrorCode) -> None:
    service = Crowded()
    service.status, service.code, service.final = status, code, JobState.PLANNED
    states, client = follow(service, tmp_path)
    assert states == [JobState.PLANNED] * 3 + [JobState.DONE]  # twice asked for, then two events
    assert client.notices == []


def test_a_job_is_polled_where_there_is_never_a_place_for_a_stream(tmp_path: Path) -> None:
    service = Crowded()
    service.final, service.refused = JobState.PLANNED, 99
    client = Client(transport(service), tmp_path, event_reconnects=2)
    states = client.follow(client.create_job(REQUEST).id)
    assert [next(states).state for _ in range(5)] == [JobState.PLANNED] * 5
    assert "keeps breaking (no place for a stream); asking every 0.001 s instead" in client.notices[0]


def test_a_stream_that_is_refused_for_good_is_an_error(tmp_path: Path) -> None:
    service = Crowded()
    service.status, service.code = 403, ErrorCode.FORBIDDEN
    with pytest.raises(ServiceError):
        follow(service, tmp_path)
    assert service.requests.count("GET /v1/jobs/job0/events") == 1


@pytest.mark.parametrize("state", [JobState.FAILED, JobState.CANCELLED])
def test_a_job_that_did_not_succeed_is_an_error(tmp_path: Path, state: JobState) -> None:
    service = FakeService()
    service.final = state
    service.streams = [[state]]
    seen: list[JobState] = []
    with (
        Client(transport(service), tmp_path) as client,
        pytest.raises(JobFailedError, match=f"job job0 (has|was) {state.value}: the device went away"),
    ):
        run_job(client, REQUEST, lambda job: seen.append(job.state))
    assert seen == [state]


def test_single_failures_do_not_fail_a_job(tmp_path: Path) -> None:
    service = FakeService()
    service.failing = {TABLE.entries[0].key()}
    with Client(transport(service), tmp_path) as client:
        job = run_job(client, REQUEST, lambda _: None)
        table = client.table(job.table_id)
    assert job.counts.failed == 1
    assert [entry.key() for entry in table.entries if entry.status is Status.OUT_OF_MEMORY] == list(service.failing)


def test_an_interrupt_cancels_the_job(tmp_path: Path) -> None:
    service = FakeService()

    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    with Client(transport(service), tmp_path) as client, pytest.raises(KeyboardInterrupt):
        run_job(client, REQUEST, interrupt)
    assert service.requests[-1] == "DELETE /v1/jobs/job0"


def swapping(service: FakeService, swap: Callable[[bytes], bytes]) -> httpx.MockTransport:
    """The service, with every answer's body changed."""

    def handle(request: httpx.Request) -> httpx.Response:
        status, headers, body = service.answer(request.method, request.url.raw_path.decode(), request.headers, request.content)
        return httpx.Response(status, headers=headers, content=swap(body))

    return httpx.MockTransport(handle)


def test_another_table_than_the_one_asked_for_is_refused_and_not_kept(tmp_path: Path) -> None:
    other = make_table(target=TARGET.model_copy(update={"device": "Other CPU"}))
    http = swapping(FakeService(TABLE), lambda body: to_bytes(other, TableFormat.ARROW))
    message = f"was asked for table {TABLE_ID}, and sent table {other.info.id()}"
    with Client(http, tmp_path) as client, pytest.raises(IncompatibleServiceError, match=message):
        client.columns(TABLE_ID)
    assert TableCache(tmp_path).get(URL, TABLE_ID) is None


def test_a_copy_of_another_table_is_fetched_again(tmp_path: Path) -> None:
    other = make_table(target=TARGET.model_copy(update={"device": "Other CPU"}))
    TableCache(tmp_path).put(URL, TABLE_ID, CachedTable('"x"', to_bytes(other, TableFormat.ARROW)))
    with Client(transport(FakeService(TABLE)), tmp_path) as client:
        assert client.table(TABLE_ID) == TABLE


def test_another_job_than_the_one_asked_for_is_refused(tmp_path: Path) -> None:
    service = FakeService()
    with Client(swapping(service, lambda body: body.replace(b'"id":"job0"', b'"id":"job7"')), tmp_path) as client:
        client.create_job(REQUEST)
        for ask in (client.job, client.cancel, lambda job: list(client.follow(job))):
            with pytest.raises(IncompatibleServiceError, match="job job0 was asked for, job job7 came"):
                ask("job0")


def test_looked_up_entries_are_those_that_were_asked_for(tmp_path: Path) -> None:
    one, other = (entry.workload for entry in TABLE.entries[:2])
    service = FakeService()
    with Client(transport(service), tmp_path) as client:
        client.create_job(REQUEST)
        assert [entry and entry.workload for entry in client.lookup(TABLE_ID, [one, other])] == [one, other]

    def reversed_results(body: bytes) -> bytes:
        document = json.loads(body)
        document["results"] = document["results"][::-1]
        return json.dumps(document).encode()

    for swap, message in {
        reversed_results: "results.0 is of workload",
        lambda body: body.replace(TABLE_ID.encode(), b"0" * 16): "of table 0000000000000000 came",
        lambda body: json.dumps({**json.loads(body), "results": []}).encode(): "2 workloads of table",
    }.items():
        with (
            Client(swapping(service, swap), tmp_path) as client,
            pytest.raises(IncompatibleServiceError, match=message),
        ):
            client.lookup(TABLE_ID, [one, other])


def test_jobs_are_listed_newest_first_as_many_as_were_asked_for(tmp_path: Path) -> None:
    with Client(transport(FakeService()), tmp_path) as client:
        created = [client.create_job(REQUEST) for _ in range(3)]
        assert client.jobs() == created[::-1]
        assert client.jobs(limit=2) == created[:0:-1]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"[" * 100_000, "too deep"),
        (b"[" + b"[]," * 200_000 + b"[]]", "item 0"),
        (b"{}", "a list was expected, not dict"),
        (b"[", "not a JSON document"),
    ],
)
def test_lists_that_are_none_are_refused_at_the_first_item(tmp_path: Path, body: bytes, message: str) -> None:
    with (
        Client(swapping(FakeService(), lambda _: body), tmp_path) as client,
        pytest.raises(IncompatibleServiceError, match=message),
    ):
        client.tables()
