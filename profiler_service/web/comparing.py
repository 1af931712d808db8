"""Two tables side by side: where they were measured, how far their values differ, and which differences are more than noise."""

from __future__ import annotations

import re
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse

from models.spec.tables import TableInfo
from profiler_service.api.dependencies import Services, ServicesDep
from profiler_service.comparison import TableComparison, compare
from profiler_service.web.parts import Web, WebDep, table_view
from profiler_service.web.table_views import Row, TableView, heat_map

router = APIRouter(include_in_schema=False)

SHOWN = 30
_DIFFERENCE = re.compile(r"(?P<field>[^:]+): (?P<a>.*) here, (?P<b>.*) there", re.DOTALL)

Id = Annotated[str, Query(max_length=64)]


@router.get("/ui/compare")
def compare_page(services: ServicesDep, web: WebDep, request: Request, a: Id = "", b: Id = "") -> Response:
    """Two tables, or the choice of two."""
    tables = {table_id: info for table_id, info, _ in services.store.table_briefs()}
    context: dict[str, Any] = {"tables": tables, "a": a, "b": b, "found": None}
    if a and b:
        found, one, other = _compared(a, b, services, web)
        context |= {
            "found": found,
            "differing": differing(one.info, other.info),
            "infos": (one.info, other.info),
            "views": (one, other),
            "panels": [panel for panel in one.panels if panel in set(other.panels)],
            "listed": found.significant[:SHOWN],
        }
    return web.pages.page(request, "compare.html", **context)


def _compared(a: str, b: str, services: Services, web: Web) -> tuple[TableComparison, TableView, TableView]:
    views = [table_view(web, services.store, table_id) for table_id in (a, b)]
    etags = [view.etag for view in views]
    found = web.comparisons.get(f"{a}:{b}", ":".join(etags), lambda: compare(services.store.table(a), services.store.table(b)))
    return found, views[0], views[1]


def differing(a: TableInfo, b: TableInfo) -> list[tuple[str, str, str]]:
    """Field, and its value in each of both, of all in which their identities differ."""
    lines = [f"target {line}" for line in a.target.differences(b.target)]
    lines += [f"space {line}" for line in a.space.differences(b.space)]
    for name in ("protocol", "protocol_version"):
        if getattr(a, name) != getattr(b, name):
            lines.append(f"{name}: {getattr(a, name)} here, {getattr(b, name)} there")
    found = [(line, _DIFFERENCE.fullmatch(line)) for line in lines]
    return [(match["field"], match["a"], match["b"]) if match else (line, "", "") for line, match in found]


@router.get("/ui/compare/heat.json")
def compare_heat(
    services: ServicesDep, web: WebDep, a: Id, b: Id, panel: Annotated[str, Query(max_length=200)] = ""
) -> Response:
    """One panel's ratios, B over A."""
    found, one, other = _compared(a, b, services, web)
    differences = {entry.key: entry for entry in found.differences}
    theirs = {row.key: row for row in other.rows}
    shared = [name for name in one.panels if name in set(other.panels)]
    panel = panel or (shared[0] if shared else "")
    rows: list[Row] = []
    for row in (row for row in one.rows if row.panel == panel):
        difference, there = differences.get(row.key), theirs.get(row.key)
        if difference is not None:
            flags = ("significant",) if difference.significant else ()
            rows.append(row._replace(value_ms=difference.b_ms / difference.a_ms, flags=flags))
        elif there is not None:
            rows.append(row._replace(value_ms=None, status=_why(row, there), flags=()))
    return JSONResponse(heat_map(rows, kind="ratio"))


def _why(row: Row, there: Row) -> str:
    """Why an operator that both tables have cannot be compared."""
    failed = [f"{name}: {one.status}" for name, one in (("A", row), ("B", there)) if one.value_ms is None]
    return ", ".join(failed) or "no time at all in one of both"
