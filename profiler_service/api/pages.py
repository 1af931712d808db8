"""`/docs` and `/redoc`: the description of every call as pages, from files of installed packages alone.

Both work without a network, and under a policy that lets them load and call nothing but this service.
"""

from __future__ import annotations

from fastapi import APIRouter, FastAPI
from fastapi.responses import HTMLResponse
from starlette.staticfiles import StaticFiles

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self' 'unsafe-inline'",  # both set styles from their scripts
        "img-src 'self' data:",
        "connect-src 'self'",
        "worker-src 'self' blob:",  # Redoc's search
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
"""Of both pages: no host but this one, no script inside the page. A style can neither send nor run anything."""

# Addresses are relative, so that they hold below any root path.
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>profiler-service</title>
<link rel="icon" href="docs/assets/favicon.png">
{head}</head>
<body>
{body}
</body>
</html>
"""
_SWAGGER = _PAGE.format(
    head='<link rel="stylesheet" href="docs/assets/swagger-ui.css">\n',
    body="""<div id="swagger-ui"></div>
<script src="docs/assets/swagger-ui-bundle.js"></script>
<script src="docs/assets/start-swagger.js"></script>""",
)
_REDOC = _PAGE.format(
    head="",
    body="""<redoc spec-url="openapi.json"></redoc>
<script src="docs/assets/redoc.standalone.js"></script>""",
)

router = APIRouter(include_in_schema=False)


@router.get("/docs")
async def docs() -> HTMLResponse:
    """Every call, to be tried out."""
    return HTMLResponse(_SWAGGER, headers={"Content-Security-Policy": POLICY})


@router.get("/redoc")
async def redoc() -> HTMLResponse:
    """Every call, to be read."""
    return HTMLResponse(_REDOC, headers={"Content-Security-Policy": POLICY})


def install(app: FastAPI) -> None:
    """Serve the pages and what they load."""
    app.include_router(router)
    files = StaticFiles(packages=[("profiler_service.api", "assets"), ("fastapi_offline", "static")])
    app.mount("/docs/assets", files, name="assets")
