"""A validation's page: estimated against measured networks, and each network as a drawing."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import JSONResponse

from models.spec.errors import OpclockError
from models.spec.validations import ValidationPoint
from profiler_service.api.dependencies import ServicesDep
from profiler_service.web.drawing import Drawing, draw
from profiler_service.web.parts import WebDep

router = APIRouter(include_in_schema=False)

ESTIMATES = {"raw": "sum of table entries", "calibrated": "calibrated sum", "macs": "multiply-adds, fitted"}

Id = Annotated[str, Path(max_length=64)]


@router.get("/ui/validations/{validation_id}")
def validation_page(validation_id: Id, services: ServicesDep, web: WebDep, request: Request) -> Response:
    """One validation."""
    found, _ = services.store.validation(validation_id)
    info = services.store.table_info(found.table_id)
    rows = [(name, found.summary.get(key)) for key, name in ESTIMATES.items()]
    return web.pages.page(
        request,
        "validation.html",
        found=found,
        info=info,
        rows=[(name, agreed) for name, agreed in rows if isinstance(agreed, dict)],
        estimates=ESTIMATES,
        verdict=_verdict(found.summary.get("verdict")),
    )


def _verdict(found: Any) -> dict[str, Any] | None:
    """The verdict that was posted, if it looks like one: the service does not vouch for what clients compute."""
    if not isinstance(found, dict) or not isinstance(found.get("level"), str):
        return None
    reasons = found.get("reasons")
    texts = [one.get("text") for one in reasons if isinstance(one, dict)] if isinstance(reasons, list) else []
    return {"level": found["level"], "reasons": [text for text in texts if isinstance(text, str)]}


@router.get("/ui/validations/{validation_id}/points.json")
def validation_points(
    validation_id: Id,
    services: ServicesDep,
    estimate: Annotated[str, Query(max_length=20)] = "raw",
    of: Annotated[str, Query(max_length=20)] = "latency",
) -> JSONResponse:
    """Coordinates of all networks: measured over estimated, or how far the estimate is off over the measured latency."""
    _, points = services.store.validation(validation_id)
    estimated = [_estimate(point, estimate) for point in points]
    measured = [point.measured_ms for point in points]
    if of == "residuals":
        offs = [None if e is None or not m else 100 * (e / m - 1) for e, m in zip(estimated, measured, strict=True)]
        axes: dict[str, Any] = {
            "x": measured,
            "y": offs,
            "xTitle": "measured (ms)",
            "yTitle": "estimate off by (%)",
            "diagonal": False,
        }
    else:
        axes = {"x": estimated, "y": measured, "xTitle": "estimated (ms)", "yTitle": "measured (ms)", "diagonal": True}
    labels = [point.architecture.label() for point in points]
    return JSONResponse(axes | {"labels": labels, "keys": [point.architecture.key() for point in points]})


def _estimate(point: ValidationPoint, name: str) -> float | None:
    return {"raw": point.sum_ms, "calibrated": point.calibrated_ms, "macs": point.macs_ms}.get(name)


@router.get("/ui/parts/validations/{validation_id}/{key}")
def validation_network(validation_id: Id, key: Id, services: ServicesDep, web: WebDep, request: Request) -> Response:
    """One network: what was estimated and measured, and how it looks."""
    _, points = services.store.validation(validation_id)
    point = next((point for point in points if point.architecture.key() == key), None)
    drawing: Drawing | None = None
    problem = "The validation has no such network." if point is None else ""
    if point is not None:
        try:
            drawing = draw(point.architecture)
        except OpclockError as error:
            problem = f"It cannot be drawn: {error.message}."
    return web.pages.page(request, "parts/network.html", point=point, drawing=drawing, problem=problem)
