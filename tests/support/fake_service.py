"""A profiler service that measures nothing: its answers are computed, and it fails where a test says so.

`answer` is the whole service, a request in and a reply out; `transport` puts it behind httpx, `serving` behind a real socket.
"""

from __future__ import annotations

import hashlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx

from models.spaces.registry import create_space, space_of
from models.spec.architectures import ArchitectureSpec, SpaceSpec
from models.spec.errors import ErrorCode, OpclockError
from models.spec.measurements import Measurement, ProtocolName, Status, Workload
from models.spec.operators import OperatorSpec
from models.spec.scale import Scale
from models.spec.table_files import TableFormat, table_etag, to_bytes
from models.spec.tables import Table, TableInfo
from models.spec.targets import TargetSpec
from models.spec.wire import (
    API_VERSION,
    VERSION_HEADER,
    ErrorBody,
    ErrorDetail,
    JobCounts,
    JobCreate,
    JobPublic,
    JobState,
    LookupRequest,
    LookupResponse,
    TablePublic,
    TargetPublic,
)
from tests.support.toy_space import ToySpace

SPACE = ToySpace.from_spec(SpaceSpec(name="toy_dag", input_size=(64, 128))).spec
TARGET = TargetSpec(device="Paper CPU", backend="paper", versions={"paper": "1.0"}, threads=1)
SCALE = Scale(reference_ms=0.25, stderr_ms=0.0005, visits=400, quiet=300)
"""Of every table, unless a test says otherwise: settled."""
SLOWER = 1.07
"""How much longer a network takes than the sum of its entries, give or take `JITTER`."""
JITTER = 0.01

Reply = tuple[int, dict[str, str], bytes]


def noise(key: str) -> float:
    """Something between −1 and 1 that only depends on the key."""
    return int(hashlib.sha256(key.encode()).hexdigest()[:8], 16) / 2**31 - 1


def operator_ms(operator: OperatorSpec) -> float:
    """The computed time of an operator: not proportional to its multiply-adds."""
    kinds = {"skip": 0.02, "conv3x3": 0.31, "zoomed_conv3x3_x2": 0.17}
    return kinds.get(operator.kind, 0.4) * (1 + 0.2 * noise(operator.key()))


def make_table(
    space: SpaceSpec = SPACE, target: TargetSpec = TARGET, protocol: ProtocolName = ProtocolName.IN_CONTEXT
) -> Table:
    """A complete table of a space, certain to 1 %, its plain values the same as its scaled ones."""
    entries = (_entry(operator) for operator in create_space(space).operators())
    info = TableInfo(target=target, space=create_space(space).spec, protocol=protocol, scale=SCALE)
    return Table(info=info, entries=tuple(entries))


def _entry(operator: OperatorSpec) -> Measurement:
    value = operator_ms(operator)
    return Measurement(workload=operator, value_ms=value, stderr_ms=0.01 * value, plain_ms=value)


def network_ms(architecture: ArchitectureSpec) -> float:
    """The computed time of a network."""
    operators = space_of(architecture).architecture_operators(architecture)
    return SLOWER * sum(map(operator_ms, operators)) * (1 + JITTER * noise(architecture.key()))


class FakeService:
    """The state of a service. Jobs are finished as soon as they are created.

    Attributes:
        tables: what it holds. target: what it measures on. failing: keys of workloads that cannot be measured.
        requests: `METHOD path` of every request so far. created: idempotency keys of the jobs created.
        streams: what each opened event stream sends, in turn; the last one stays. A stream is a list of job states and,
            at its end, whether it closes or breaks.
        final: state in which jobs end. ended: ids of jobs that are past cancelling.
        token: what requests must carry; empty for none.
        spread: between the rounds of everything it measures. plain: its plain values over the scaled ones.
    """

    def __init__(self, *tables: Table, target: TargetSpec = TARGET) -> None:
        self.tables = {table.info.id(): table for table in tables}
        self.target = target
        self.failing: set[str] = set()
        self.requests: list[str] = []
        self.created: dict[str, JobPublic] = {}
        self.streams: list[list[JobState]] = [[JobState.PLANNED, JobState.DONE]]
        self.final = JobState.DONE
        self.ended: set[str] = set()
        self.token = ""
        self.spread, self.plain = 0.02, 1.0
        self._measured: dict[str, dict[str, Measurement]] = {}

    def answer(self, method: str, path: str, headers: httpx.Headers, body: bytes) -> Reply:
        """What the service replies."""
        self.requests.append(f"{method} {path}")
        if self.token and headers.get("authorization") != f"Bearer {self.token}":
            return self._error(401, ErrorCode.INVALID_REQUEST, "a token is needed", "")
        try:
            return self._route(method, path, headers, body)
        except OpclockError as error:
            return self._error(422, error.code, error.message, error.hint)

    def _route(self, method: str, path: str, headers: httpx.Headers, body: bytes) -> Reply:
        path, _, query = path.partition("?")
        parts = path.strip("/").split("/")
        match method, parts:
            case "GET", ["v1", "target"]:
                return self._json(TargetPublic(id=self.target.id(), target=self.target, service_version="0"))
            case "GET", ["v1", "tables"]:
                listed = [self._summary(table).model_dump(mode="json") for table in self.tables.values()]
                return self._ok(json.dumps(listed).encode())
            case "GET", ["v1", "tables", table_id] if table_id in self.tables:
                table = self.tables[table_id]
                tag = f'"{table_etag(table)}-arrow"'
                if headers.get("if-none-match") == tag:
                    return 304, self._headers(ETag=tag), b""
                return 200, self._headers(ETag=tag), to_bytes(table, TableFormat.ARROW)
            case "POST", ["v1", "lookup"]:
                wanted = LookupRequest.parse_json(body)
                found = self._measured.get(wanted.table_id, {})
                results = tuple(found.get(workload.key()) for workload in wanted.workloads)
                return self._json(LookupResponse(table_id=wanted.table_id, results=results))
            case "POST", ["v1", "jobs"]:
                return self._create(JobCreate.parse_json(body), headers["idempotency-key"])
            case "GET", ["v1", "jobs"]:
                latest = list(self.created.values())[::-1][: int(query.removeprefix("limit=") or 100)]
                return self._ok(json.dumps([job.model_dump(mode="json") for job in latest]).encode())
            case "GET", ["v1", "jobs", job_id, "events"]:
                states = self.streams.pop(0) if len(self.streams) > 1 else self.streams[0]
                job = self._job(job_id)
                events = (f"event: job\ndata: {_in(job, state).model_dump_json()}\n\n" for state in states)
                return 200, self._headers(**{"Content-Type": "text/event-stream"}), "".join(events).encode()
            case "DELETE", ["v1", "jobs", job_id] if job_id in self._jobs:
                if job_id in self.ended:
                    return self._error(409, ErrorCode.CONFLICT, f"job {job_id} has ended", "")
                return self._json(self._job(job_id).model_copy(update={"state": JobState.CANCELLED}), 202)
            case "PUT", ["v1", "jobs", job_id, "pause" | "resume" as call] if job_id in self._jobs:
                state = JobState.PAUSED if call == "pause" else JobState.QUEUED
                return self._json(self._job(job_id).model_copy(update={"state": state}), 202)
            case "GET", ["v1", "jobs", job_id] if job_id in self._jobs:
                return self._json(self._job(job_id))
            case _:
                return self._error(404, ErrorCode.NOT_FOUND, f"no {path}", "See /docs.")

    def _create(self, request: JobCreate, key: str) -> Reply:
        if key not in self.created:
            request = request.model_copy(update={"space": create_space(request.space).spec})
            info = TableInfo(target=self.target, space=request.space, protocol=request.protocol, scale=SCALE)
            workloads: tuple[Workload, ...] = request.workloads or create_space(request.space).operators()
            measured = self._measured.setdefault(info.id(), {})
            measured |= {workload.key(): self._measure(workload) for workload in workloads}
            if request.workloads is None:
                self.tables[info.id()] = Table(info=info, entries=tuple(measured.values()))
            failed = sum(measured[workload.key()].status is not Status.OK for workload in workloads)
            self.created[key] = JobPublic(
                id=f"job{len(self.created)}",
                state=self.final,
                table_id=info.id(),
                request=request,
                counts=JobCounts(total=len(workloads), measured=len(workloads) - failed, failed=failed),
                fraction=1.0,
                message="" if self.final is JobState.DONE else "the device went away",
                created_at=datetime(2025, 1, 1, tzinfo=UTC),
            )
        return self._json(self.created[key], 202)

    def _measure(self, workload: Workload) -> Measurement:
        if workload.key() in self.failing:
            return Measurement(workload=workload, status=Status.OUT_OF_MEMORY, message="it does not fit")
        value = network_ms(workload) if isinstance(workload, ArchitectureSpec) else operator_ms(workload)
        return Measurement(
            workload=workload,
            value_ms=value,
            rounds=3,
            between_round_spread=self.spread,
            stderr_ms=0.01 * value,
            plain_ms=value * self.plain,
        )

    @property
    def _jobs(self) -> list[str]:
        return [job.id for job in self.created.values()]

    def _job(self, job_id: str) -> JobPublic:
        return next(job for job in self.created.values() if job.id == job_id)

    def _summary(self, table: Table) -> TablePublic:
        failed = len(table.entries) - len(table.values_ms())
        return TablePublic(
            id=table.info.id(), info=table.info, entries=len(table.entries), failed=failed, etag=table_etag(table)
        )

    def _json(self, record: object, status: int = 200) -> Reply:
        return status, self._headers(), record.model_dump_json().encode()  # type: ignore[attr-defined]

    def _ok(self, body: bytes) -> Reply:
        return 200, self._headers(), body

    def _error(self, status: int, code: ErrorCode, message: str, hint: str) -> Reply:
        detail = ErrorDetail(code=code, message=message, hint=hint, request_id="r-1")
        return status, self._headers(), ErrorBody(error=detail).model_dump_json().encode()

    def _headers(self, **more: str) -> dict[str, str]:
        return {VERSION_HEADER: str(API_VERSION), "Content-Type": "application/json"} | more


def _in(job: JobPublic, state: JobState) -> JobPublic:
    """The job as it was when it was in that state."""
    if state.final:
        return job.model_copy(update={"state": state})
    counts = JobCounts(total=job.counts.total)
    return job.model_copy(update={"state": state, "counts": counts, "fraction": 0.5, "phase": "round 1"})


def transport(service: FakeService) -> httpx.MockTransport:
    """The service behind httpx."""

    def handle(request: httpx.Request) -> httpx.Response:
        status, headers, body = service.answer(request.method, request.url.raw_path.decode(), request.headers, request.content)
        return httpx.Response(status, headers=headers, content=body)

    return httpx.MockTransport(handle)


Fault = Callable[[socket.socket], None]
"""Takes a connection whose request was read, and does what it likes; the connection is closed afterwards."""


def reset_mid_body(connection: socket.socket) -> None:
    """Half an answer, then a reset."""
    connection.sendall(f"HTTP/1.1 200 OK\r\n{VERSION_HEADER}: {API_VERSION}\r\nContent-Length: 1000\r\n\r\n{{".encode())
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")


def cut_short(connection: socket.socket) -> None:
    """Half an answer, then an orderly end."""
    connection.sendall(f"HTTP/1.1 200 OK\r\n{VERSION_HEADER}: {API_VERSION}\r\nContent-Length: 1000\r\n\r\n{{".encode())


def cut_short_stream(connection: socket.socket) -> None:
    """Half an event, then an end in the middle of a chunk."""
    kind = "Content-Type: text/event-stream\r\nTransfer-Encoding: chunked"
    head = f"HTTP/1.1 200 OK\r\n{VERSION_HEADER}: {API_VERSION}\r\n{kind}\r\n\r\n"
    connection.sendall(f"{head}100\r\nevent: job\ndata: {{".encode())


def no_answer(connection: socket.socket) -> None:
    """An end without a word."""


def silent(connection: socket.socket) -> None:
    """Nothing, for longer than any test waits."""
    connection.recv(1)


def trickling(connection: socket.socket) -> None:
    """A byte now and then, for as long as somebody reads."""
    connection.sendall(f"HTTP/1.1 200 OK\r\n{VERSION_HEADER}: {API_VERSION}\r\nContent-Length: 100000\r\n\r\n".encode())
    while True:
        connection.sendall(b" ")
        time.sleep(0.02)


def says(status: str, headers: str = "") -> Fault:
    """A fault that answers with that status line and those headers, and ends the connection, as faults do, having said so."""

    def answer(connection: socket.socket) -> None:
        connection.sendall(f"HTTP/1.1 {status}\r\n{headers}Connection: close\r\nContent-Length: 2\r\n\r\n{{}}".encode())

    return answer


@contextmanager
def serving(service: FakeService, faults: list[Fault] | None = None) -> Iterator[str]:
    """The service on a loopback port; gives its address. The first requests meet the faults, one each."""
    waiting = faults if faults is not None else []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _handle(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if waiting:
                self.close_connection = True
                try:
                    waiting.pop(0)(self.connection)
                except OSError:
                    return  # the client had enough
                return
            status, headers, reply = service.answer(self.command, self.path, httpx.Headers(dict(self.headers)), body)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            if status != 304:
                self.send_header("Content-Length", str(len(reply)))
            self.end_headers()
            self.wfile.write(reply)

        do_GET = do_POST = do_PUT = do_DELETE = _handle  # noqa: N815 - names that http.server looks for

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
