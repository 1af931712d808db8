"""Tables, complete or entry by entry."""

from __future__ import annotations

from http import HTTPStatus

from fastapi import APIRouter, Request, Response

from models.spaces.registry import completed_workloads
from models.spec.errors import ErrorCode
from models.spec.table_files import TableFormat
from models.spec.validations import ValidationCreate, ValidationPublic
from models.spec.wire import (
    ARROW_MEDIA_TYPE,
    CSV_MEDIA_TYPE,
    JSON_MEDIA_TYPE,
    LookupRequest,
    LookupResponse,
    TablePublic,
)
from profiler_service.api.bodies import ParsedRoute
from profiler_service.api.content import Snapshot, best_media_type, cached, compressed, gzipped
from profiler_service.api.dependencies import ServicesDep, TableId
from profiler_service.api.errors import RequestError
from profiler_service.api.lookups import answer
from profiler_service.api.openapi import problems
from profiler_service.version import service_version

router = APIRouter(tags=["tables"], route_class=ParsedRoute)

FORMATS = {
    JSON_MEDIA_TYPE: TableFormat.JSON,  # first: what a client gets that states no wish
    ARROW_MEDIA_TYPE: TableFormat.ARROW,
    CSV_MEDIA_TYPE: TableFormat.CSV,
}


@router.get("/tables")
def list_tables(services: ServicesDep) -> list[TablePublic]:
    """Every table, with what identifies it and how much it holds."""
    return services.store.tables()


@router.get(
    "/tables/{table_id}",
    response_class=Response,
    responses={
        200: {
            "description": "The table in the form that `Accept` prefers; each is also a table file.",
            "content": {media_type: {} for media_type in FORMATS},
            "headers": {"ETag": {"schema": {"type": "string"}, "description": "Strong; names these bytes."}},
        },
        304: {"description": "The client has it: an entity tag of `If-None-Match` is the current one."},
        **problems(404, 406, 422),
    },
)
def read_table(table_id: TableId, services: ServicesDep, request: Request) -> Response:
    """One table: its identity and all its operators' measurements, failures included."""
    media_type = best_media_type(request.headers.get("Accept"), tuple(FORMATS))
    if media_type is None:
        raise RequestError(
            HTTPStatus.NOT_ACCEPTABLE,
            ErrorCode.NOT_ACCEPTABLE,
            f"a table cannot be sent as {request.headers['Accept']!r}",
            hint=f"Accept one of {', '.join(FORMATS)}.",
        )
    release = service_version()  # another one may write other bytes for the same contents

    def take() -> Snapshot:
        etag, table = services.store.table_columns(table_id)
        return Snapshot(f"{etag}-{release}", table.to_bytes(FORMATS[media_type]))

    held = f"{services.store.table_etag(table_id)}-{release}"

    def taken(zipped: bool) -> Snapshot:
        plain = services.renditions.get((table_id, media_type), held, take)
        if not zipped:
            return plain
        form = (table_id, f"{media_type}+gzip")
        return services.renditions.get(form, plain.version, lambda: Snapshot(plain.version, gzipped(plain.body)))

    return cached(request, media_type, version=held, take=taken)


@router.post("/tables/{table_id}/validations", status_code=HTTPStatus.CREATED, responses=problems(404, 408, 413, 415, 422))
def create_validation(table_id: TableId, validation: ValidationCreate, services: ServicesDep) -> ValidationPublic:
    """Keep a validation beside its table, where its page shows it. Of one table the newest 50 are kept."""
    return services.store.add_validation(table_id, validation)


@router.get("/tables/{table_id}/validations", responses=problems(404, 422))
def list_validations(table_id: TableId, services: ServicesDep) -> list[ValidationPublic]:
    """The validations of a table, newest first, without their networks."""
    return services.store.validations(table_id)


@router.post("/lookup", response_model=LookupResponse, responses=problems(404, 408, 413, 415, 422))
def lookup(wanted: LookupRequest, services: ServicesDep, request: Request) -> Response:
    """Measurements of many workloads at once; null for those the table does not hold. Nothing is measured on the way."""
    workloads = completed_workloads(wanted.workloads)
    texts = services.store.record_texts(wanted.table_id, [workload.key() for workload in workloads])
    return compressed(request, answer(wanted.table_id, workloads, texts), JSON_MEDIA_TYPE)
