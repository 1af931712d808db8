"""A profiler service as the client sees it: its calls (docs/reference/http.md), typed, and jobs followed to their end."""

from __future__ import annotations

import json
import logging
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote

from models.spaces.registry import completed_workloads
from models.spec import limits
from models.spec.base import Record
from models.spec.errors import InvalidSpecError, TableFileError
from models.spec.measurements import Measurement, Workload
from models.spec.table_files import TableColumns
from models.spec.tables import Table
from models.spec.validations import ValidationCreate, ValidationPublic
from models.spec.wire import (
    ARROW_MEDIA_TYPE,
    JobCreate,
    JobPublic,
    JobState,
    LookupRequest,
    LookupResponse,
    SpacePublic,
    TablePublic,
    TargetPublic,
)
from nas_client.errors import PASSING, IncompatibleServiceError, JobFailedError, ServiceError, UnreachableError
from nas_client.local_tables import CachedTable, TableCache
from nas_client.settings import ClientSettings
from nas_client.transport import IDEMPOTENCY_HEADER, MAX_LIST_BYTES, MAX_TABLE_BYTES, Transport

Notice = Callable[[str], None]
"""Receives, in one sentence, what the user should know."""

_log = logging.getLogger(__name__)
R = TypeVar("R", bound=Record)


class ServiceClient:
    """The client of one service. A context manager that closes the connection.

    Errors of every call: ServiceError, UnreachableError, IncompatibleServiceError (see `Transport.request`).

    Args:
        transport: the connection; closed with this.
        settings: time limits, and where copies of tables are stored.
        notice: receives a sentence when the client uses a fallback.
    """

    def __init__(self, transport: Transport, settings: ClientSettings, *, notice: Notice = _log.warning) -> None:
        self._transport = transport
        self._settings = settings
        self._cache = TableCache(settings.cache_dir)
        self._notice = notice

    @classmethod
    def connect(cls, url: str, settings: ClientSettings, *, notice: Notice = _log.warning) -> Self:
        """Make a client of the service at that address. Nothing is sent yet."""
        return cls(Transport(url, settings), settings, notice=notice)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._transport.close()

    @property
    def url(self) -> str:
        """The address of the service."""
        return self._transport.url

    def target(self) -> TargetPublic:
        """The target that the service measures on."""
        return self._get("/v1/target", TargetPublic)

    def spaces(self) -> list[SpacePublic]:
        """The search spaces that the service can build."""
        return self._get_list("/v1/spaces", SpacePublic)

    def tables(self) -> list[TablePublic]:
        """The tables that the service holds."""
        return self._get_list("/v1/tables", TablePublic)

    def table(self, table_id: str) -> Table:
        """One table. The local copy is returned if the service confirms that the table has not changed."""
        return self.columns(table_id).table

    def columns(self, table_id: str) -> TableColumns:
        """As `table`, but kept as columns: large tables come and are checked many times faster."""
        copy = self._copy(table_id)
        headers = {"Accept": ARROW_MEDIA_TYPE} | ({"If-None-Match": copy[0].etag} if copy else {})
        reply = self._transport.request(
            "GET", f"/v1/tables/{quote(table_id, safe='')}", headers=headers, most_bytes=MAX_TABLE_BYTES
        )
        if copy and reply.status == 304:
            return copy[1]
        try:
            columns = TableColumns.from_bytes(reply.body)
        except TableFileError as error:
            raise IncompatibleServiceError(f"{self.url} sent something else than table {table_id}: {error.message}") from error
        if (sent := columns.info.id()) != table_id:
            raise IncompatibleServiceError(
                f"{self.url} was asked for table {table_id}, and sent table {sent}",
                hint="Check what stands between this machine and the service: a cache or a proxy may mix up its answers.",
            )
        if (etag := reply.headers.get("etag")) and etag.isascii() and etag.isprintable():
            self._store_copy(table_id, CachedTable(etag, reply.body))
        return columns

    def lookup(self, table_id: str, workloads: Sequence[Workload]) -> list[Measurement | None]:
        """The measurements of workloads, in order; None for one that the table lacks. Nothing is measured."""
        results: list[Measurement | None] = []
        for start in range(0, len(workloads), limits.MAX_WORKLOADS_PER_LOOKUP):
            part = completed_workloads(workloads[start : start + limits.MAX_WORKLOADS_PER_LOOKUP])
            request = LookupRequest(table_id=table_id, workloads=part)
            reply = self._transport.request("POST", "/v1/lookup", body=request)
            results += self._looked_up(reply.body, request)
        return results

    def _looked_up(self, body: bytes, request: LookupRequest) -> Sequence[Measurement | None]:
        answer = self._parse(body, LookupResponse, "/v1/lookup")
        keys = [workload.key() for workload in request.workloads]
        found = [None if result is None else result.key() for result in answer.results]
        if answer.table_id != request.table_id or len(found) != len(keys):
            raise self._unreadable(
                "/v1/lookup",
                InvalidSpecError(
                    f"{len(keys)} workloads of table {request.table_id} were asked for, "
                    f"{len(found)} of table {answer.table_id} came"
                ),
            )
        for index, (key, other) in enumerate(zip(keys, found, strict=True)):
            if other not in (None, key):
                raise self._unreadable("/v1/lookup", InvalidSpecError(f"results.{index} is of workload {other}, not {key}"))
        return answer.results

    def post_validation(self, table_id: str, validation: ValidationCreate) -> ValidationPublic:
        """Keep a validation beside its table, where the table's page shows it."""
        path = f"/v1/tables/{quote(table_id, safe='')}/validations"
        return self._parse(self._transport.request("POST", path, body=validation).body, ValidationPublic, path)

    def create_job(self, request: JobCreate) -> JobPublic:
        """Create a job. A retry after a broken connection does not create a second one."""
        headers = {IDEMPOTENCY_HEADER: uuid.uuid4().hex}
        reply = self._transport.request("POST", "/v1/jobs", body=request, headers=headers)
        return self._parse(reply.body, JobPublic, "/v1/jobs")

    def job(self, job_id: str) -> JobPublic:
        """The present state of a job."""
        return self._of(job_id, self._get(_job_path(job_id), JobPublic))

    def jobs(self, limit: int = 100) -> list[JobPublic]:
        """The latest jobs of the service, newest first, `limit` at the most."""
        return self._get_list(f"/v1/jobs?limit={limit}", JobPublic)

    def cancel(self, job_id: str) -> JobPublic:
        """Cancel a job. Its measurements so far stay in the table."""
        path = _job_path(job_id)
        return self._of(job_id, self._parse(self._transport.request("DELETE", path).body, JobPublic, path))

    def pause(self, job_id: str) -> JobPublic:
        """Stop a job until it is resumed. Its measurements so far stay in the table."""
        return self._change(job_id, "pause")

    def resume(self, job_id: str) -> JobPublic:
        """Let a paused job wait for its turn again."""
        return self._change(job_id, "resume")

    def _change(self, job_id: str, call: str) -> JobPublic:
        path = f"{_job_path(job_id)}/{call}"
        return self._of(job_id, self._parse(self._transport.request("PUT", path).body, JobPublic, path))

    def follow(self, job_id: str) -> Iterator[JobPublic]:
        """Follow a job: its states as they change, the final one last.

        The client listens to the job's events. After a break it waits and reconnects, since a proxy may cut every stream after
        its first event. A service that has no place for a stream at present is as good as a break. If streams keep breaking
        without any event, the client polls instead, and reports that.
        """
        breaks = 0
        while breaks <= self._settings.event_reconnects:
            try:
                for event in self._transport.events(f"{_job_path(job_id)}/events"):
                    breaks = 0
                    job = self._of(job_id, self._parse(event.data.encode(), JobPublic, "an event"))
                    yield job
                    if job.state.final:
                        return
                reason = "it ended before the job did"
            except UnreachableError as error:
                reason = error.message
            except ServiceError as error:
                if error.code not in PASSING:
                    raise
                reason = error.message
            breaks += 1
            job = self.job(job_id)  # whatever happened in between; ends here too if the service is gone
            yield job
            if job.state.final:
                return
            time.sleep(self._settings.poll_s)
        self._notice(
            f"the event stream of job {job_id} keeps breaking ({reason}); asking every {self._settings.poll_s:g} s instead"
        )
        while not job.state.final:
            time.sleep(self._settings.poll_s)
            job = self.job(job_id)
            yield job

    def _get(self, path: str, model: type[R]) -> R:
        return self._parse(self._transport.request("GET", path).body, model, path)

    def _get_list(self, path: str, model: type[R]) -> list[R]:
        """The records of a list, one after the other: a validator of lists would collect an error for each item."""
        items = self._document(self._transport.request("GET", path, most_bytes=MAX_LIST_BYTES).body, path)
        if not isinstance(items, list):
            raise self._unreadable(path, InvalidSpecError(f"a list was expected, not {type(items).__name__}"))
        try:
            return [model.parse(item, source=f"item {index}") for index, item in enumerate(items)]
        except InvalidSpecError as error:
            raise self._unreadable(path, error) from error

    def _of(self, job_id: str, job: JobPublic) -> JobPublic:
        """The job, if it is the one that was asked for."""
        if job.id != job_id:
            raise self._unreadable(_job_path(job_id), InvalidSpecError(f"job {job_id} was asked for, job {job.id} came"))
        return job

    def _parse(self, body: bytes, model: type[R], path: str) -> R:
        document = self._document(body, path)
        try:
            return model.parse(document)
        except InvalidSpecError as error:
            raise self._unreadable(path, error) from error

    def _document(self, body: bytes, path: str) -> Any:
        try:
            return json.loads(body)
        except ValueError as error:
            raise self._unreadable(path, InvalidSpecError(f"not a JSON document: {error}")) from error
        except RecursionError as error:
            raise self._unreadable(path, InvalidSpecError("a JSON document that is nested too deep")) from error

    def _unreadable(self, path: str, error: InvalidSpecError) -> IncompatibleServiceError:
        return IncompatibleServiceError(
            f"{self.url} answered {path} in a way this client does not understand: {error.message}",
            hint="Install the same release of opclock on both sides.",
        )

    def _copy(self, table_id: str) -> tuple[CachedTable, TableColumns] | None:
        copy = self._cache.get(self.url, table_id)
        if copy is None:
            return None
        try:
            columns = TableColumns.from_bytes(copy.body, source="stored copy")
        except TableFileError:  # whole, but written by another release
            columns = None
        if columns is None or columns.info.id() != table_id:
            self._cache.discard(self.url, table_id)
            return None
        return copy, columns

    def _store_copy(self, table_id: str, table: CachedTable) -> None:
        try:
            self._cache.put(self.url, table_id, table)
        except OSError as error:
            self._notice(f"no copy of the table can be stored in {self._settings.cache_dir}: {error.strerror or error}")


def _job_path(job_id: str) -> str:
    return f"/v1/jobs/{quote(job_id, safe='')}"


Watch = Callable[[JobPublic], None]
"""Receives every state of a job, the final one included."""


def run_job(service: ServiceClient, request: JobCreate, watch: Watch) -> JobPublic:
    """Have something measured; returns the finished job, in which single workloads may have failed.

    Raises:
        ServiceError: the service refuses such a job.
        JobFailedError: see `finish_job`.
    """
    return finish_job(service, service.create_job(request), watch)


def finish_job(service: ServiceClient, job: JobPublic, watch: Watch) -> JobPublic:
    """Follow a job that was created, and return it finished.

    An interrupt from the keyboard cancels the job; a lost connection does not.

    Raises:
        JobFailedError: the job as a whole failed, or somebody cancelled it.
    """
    try:
        for job in service.follow(job.id):  # noqa: B020 - the job as it now stands
            watch(job)
    except KeyboardInterrupt:
        service.cancel(job.id)
        raise
    if job.state is not JobState.DONE:
        reason = f": {job.message}" if job.message else ""
        raise JobFailedError(
            f"job {job.id} {'was' if job.state is JobState.CANCELLED else 'has'} {job.state.value}{reason}",
            hint="Measurements so far are saved; the same command measures the rest.",
        )
    return job
