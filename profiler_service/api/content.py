"""Large responses: compressed where the client can read that, with an entity tag that names exactly the bytes sent."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus

from fastapi import Request, Response

from profiler_service.api.negotiation import accepts_gzip, matches_etag

GZIP_LEVEL = 6
SMALLEST_COMPRESSED = 1_024
"""Bytes under which compressing costs more than it saves: a response of one network packet stays one."""


def compressed(request: Request, body: bytes, media_type: str) -> Response:
    """That body, compressed if the client likes it so; for responses that nobody caches."""
    headers = {"Vary": "Accept-Encoding", "Cache-Control": "no-store"}
    if len(body) >= SMALLEST_COMPRESSED and accepts_gzip(request.headers.get("Accept-Encoding")):
        headers["Content-Encoding"] = "gzip"
        body = _gzip(body)
    return Response(body, media_type=media_type, headers=headers)


@dataclass(frozen=True)
class Snapshot:
    """Bytes, and the name of the state they show."""

    version: str
    body: bytes


def cached(request: Request, media_type: str, *, version: str, take: Callable[[], Snapshot]) -> Response:
    """A negotiated representation with a strong ETag; 304 without making it if the client has it.

    Args:
        request: its Accept-Encoding and If-None-Match are honoured.
        media_type: of the representation.
        version: names the present state of what is represented.
        take: makes the representation of the state as it then is, which may be newer than `version`. Equal versions must
            have equal bytes.
    """
    zipped = accepts_gzip(request.headers.get("Accept-Encoding"))
    held = request.headers.get("If-None-Match")
    if matches_etag(held, etag := _etag(version, media_type, zipped)):
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=_headers(etag))
    snapshot = take()
    headers = _headers(_etag(snapshot.version, media_type, zipped))
    body = snapshot.body
    if zipped:
        headers["Content-Encoding"] = "gzip"
        body = _gzip(body)
    return Response(body, media_type=media_type, headers=headers)


def _etag(version: str, media_type: str, zipped: bool) -> str:
    """A strong tag must differ wherever a byte does: by media type and by coding."""
    kind = media_type.rpartition("/")[2].rpartition(".")[2]
    return f'"{version}-{kind}{"-gzip" if zipped else ""}"'


def _headers(etag: str) -> dict[str, str]:
    return {"ETag": etag, "Vary": "Accept, Accept-Encoding", "Cache-Control": "no-cache"}


def _gzip(body: bytes) -> bytes:
    return gzip.compress(body, GZIP_LEVEL, mtime=0)  # no time stamp: the same content must give the same bytes
