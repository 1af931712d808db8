"""A table's page: what it is, how far it can be trusted, and its values as a heat map, a list and files."""

from __future__ import annotations

import statistics
from collections import defaultdict
from functools import partial
from http import HTTPStatus
from math import isfinite
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import JSONResponse

from models.spec.errors import ErrorCode
from models.spec.operators import OperatorSpec
from models.spec.table_files import TableFormat
from models.spec.wire import TablePublic
from profiler_service.api.content import Snapshot
from profiler_service.api.dependencies import Services, ServicesDep, TableId
from profiler_service.api.errors import RequestError
from profiler_service.linting import lint
from profiler_service.raw_data import entry_samples, rounds_of
from profiler_service.version import service_version
from profiler_service.web.histogram import Histogram
from profiler_service.web.parts import Web, WebDep, table_view
from profiler_service.web.rendering import address
from profiler_service.web.table_views import SORTS, heat_map, selected

router = APIRouter(include_in_schema=False)

AT_ONCE = 2_000
"""Entries up to which a table's page is written in one go; of a larger one that nobody has looked at, the rest follows."""

PER_PAGE = 50
COSTED = 2_000
"""Operators whose multiply-adds are counted, evenly spread over the table: each needs its module."""

Text = Annotated[str, Query(max_length=200)]
Key = Annotated[str, Path(max_length=64)]


@router.get("/ui/tables/{table_id}")
def table_page(table_id: TableId, services: ServicesDep, web: WebDep, request: Request) -> Response:
    """One table."""
    summary = services.store.table_summary(table_id)
    small = summary.entries <= AT_ONCE or web.tables.look(table_id, summary.etag) is not None
    others = [(key, info) for key, info, _ in services.store.table_briefs() if key != table_id]
    others.sort(key=lambda other: other[1].space != summary.info.space)  # those with the same operators first
    return web.pages.page(
        request,
        "table.html",
        table=summary,
        others=others,
        address=address(request),
        formats=[form.value for form in TableFormat],
        **(_looked_at(summary, services, web) if small else {"view": None}),
    )


@router.get("/ui/parts/tables/{table_id}")
def table_part(table_id: TableId, services: ServicesDep, web: WebDep, request: Request) -> Response:
    """What is read off a table's entries."""
    summary = services.store.table_summary(table_id)
    return web.pages.page(request, "parts/table.html", table=summary, **_looked_at(summary, services, web))


def _looked_at(summary: TablePublic, services: Services, web: Web) -> dict[str, Any]:
    view = table_view(web, services.store, summary.id)
    return {"view": view, "large": summary.entries > AT_ONCE, "validations": services.store.validations(summary.id)}


@router.get("/ui/tables/{table_id}/heat.json")
def table_heat(table_id: TableId, services: ServicesDep, web: WebDep, panel: Text = "") -> Response:
    """One panel's cells."""
    view = table_view(web, services.store, table_id)
    panel = panel or (view.panels[0] if view.panels else "")
    return JSONResponse(heat_map(row for row in view.rows if row.panel == panel))


@router.get("/ui/parts/tables/{table_id}/entries")
def table_entries(
    table_id: TableId,
    services: ServicesDep,
    web: WebDep,
    request: Request,
    name: Text = "",
    panel: Text = "",
    state: Text = "",
    sort: Text = "label",
    page: Annotated[int, Query(ge=1, le=100_000)] = 1,
) -> Response:
    """One page of the list of entries."""
    view = table_view(web, services.store, table_id)
    rows = selected(view, name=name, panel=panel, state=state, sort=sort if sort in SORTS else "label")
    pages = max(-(-len(rows) // PER_PAGE), 1)
    page = min(page, pages)
    return web.pages.page(
        request,
        "parts/entries.html",
        table_id=table_id,
        rows=rows[(page - 1) * PER_PAGE : page * PER_PAGE],
        found=len(rows),
        page=page,
        pages=pages,
    )


@router.get("/ui/parts/tables/{table_id}/entries/{key}")
def table_entry(table_id: TableId, key: Key, services: ServicesDep, web: WebDep, request: Request) -> Response:
    """One entry with its samples."""
    found = entry_samples(services.store, table_id, key)
    own = [sample for one in found.visits if one.role != "base" for sample in one.visit.samples_ms]
    return web.pages.page(
        request,
        "parts/entry.html",
        entry=found.measurement,
        label=found.label,
        rounds=found.rounds,
        histogram=Histogram.of(own),
    )


@router.get("/ui/parts/tables/{table_id}/falls")
def table_falls(table_id: TableId, services: ServicesDep, web: WebDep, request: Request) -> Response:
    """Larger operators that take significantly less time."""

    def make() -> str:
        store = services.store
        return web.pages.html(
            request, "parts/falls.html", report=lint(store.table(table_id), partial(rounds_of, store, table_id))
        )

    return _kept(table_id, "falls", services, web, make)


@router.get("/ui/parts/tables/{table_id}/costs")
def table_costs(table_id: TableId, services: ServicesDep, web: WebDep, request: Request) -> Response:
    """What a multiply-add costs, by operator."""
    return _kept(
        table_id, "costs", services, web, lambda: web.pages.html(request, "parts/costs.html", **_costs(table_id, services))
    )


def _kept(table_id: str, what: str, services: Services, web: Web, make: Any) -> Response:
    etag = services.store.table_etag(table_id)
    text = web.texts.get(f"{table_id}/{what}", f"{etag}-{service_version()}", make)
    return Response(text, media_type="text/html", headers={"Cache-Control": "no-store"})


def _costs(table_id: str, services: Services) -> dict[str, Any]:
    from models.operators.costs import operator_costs  # torch, which no other page needs

    entries = [entry for entry in services.store.table(table_id).entries if entry.value_ms]
    step = -(-len(entries) // COSTED) or 1
    found: defaultdict[str, list[float]] = defaultdict(list)
    for entry in entries[::step]:
        operator, value = entry.workload, entry.value_ms
        if isinstance(operator, OperatorSpec) and value and isfinite(value) and (macs := operator_costs(operator).macs):
            found[operator.kind].append(1e9 * value / macs)
    kinds = [(kind, len(ps), statistics.median(ps), min(ps), max(ps)) for kind, ps in found.items()]
    return {"kinds": sorted(kinds, key=lambda kind: -kind[2]), "counted": len(entries[::step]), "of": len(entries)}


@router.get("/ui/tables/{table_id}/download/{form}")
def download(table_id: TableId, form: Key, services: ServicesDep) -> Response:
    """The table as a file."""
    if form not in list(TableFormat):
        known = ", ".join(TableFormat)
        raise RequestError(HTTPStatus.NOT_FOUND, ErrorCode.NOT_FOUND, f"no format {form!r} of tables", hint=f"Known: {known}.")
    wanted = TableFormat(form)
    release = service_version()
    version = f"{services.store.table_etag(table_id)}-{release}"

    def make() -> Snapshot:
        etag, table = services.store.table_columns(table_id)
        return Snapshot(f"{etag}-{release}", table.to_bytes(wanted))

    snapshot = services.renditions.get((table_id, f"file/{form}"), version, make)
    headers = {"Content-Disposition": f'attachment; filename="{table_id}.{form}"', "Cache-Control": "no-cache"}
    return Response(snapshot.body, media_type="application/octet-stream", headers=headers)
