"""What a client accepts (RFC 9110, sections 12 and 13), and large responses to match.

They are compressed where the client can read that, with an entity tag that names exactly the bytes sent.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus

from fastapi import Request, Response


@dataclass(frozen=True)
class Preference:
    """One element of an Accept or Accept-Encoding header; a quality of 0 means `not this`."""

    name: str
    quality: float


def preferences(header: str) -> list[Preference]:
    """The elements of the header, parameters other than `q` left out. An unreadable quality counts as 0."""
    found = []
    for element in header.split(","):
        name, *parameters = (part.strip().lower() for part in element.split(";"))
        if name:
            found.append(Preference(name, _quality(parameters)))
    return found


def _quality(parameters: Sequence[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                quality = float(value)
            except ValueError:
                return 0.0
            return quality if 0 <= quality <= 1 else 0.0
    return 1.0


def best_media_type(header: str | None, offers: Sequence[str]) -> str | None:
    """The offer that the Accept header prefers, the earliest of equals; None where it accepts none.

    Of several ranges that match an offer the most specific one counts: `text/*;q=0.1, text/csv` asks for CSV in full.
    """
    accepted = preferences(header or "*/*")
    ranked = [(_media_quality(offer, accepted), offer) for offer in offers]
    quality, offer = max(ranked, key=lambda pair: pair[0])
    return offer if quality > 0 else None


def _media_quality(offer: str, accepted: Sequence[Preference]) -> float:
    kind = offer.partition("/")[0]
    for name in (offer, f"{kind}/*", "*/*"):
        qualities = [preference.quality for preference in accepted if preference.name == name]
        if qualities:
            return max(qualities)
    return 0.0


def accepts_gzip(header: str | None) -> bool:
    """Whether the Accept-Encoding header admits gzip and does not prefer the plain form."""
    accepted = {preference.name: preference.quality for preference in preferences(header or "")}
    gzip = accepted.get("gzip", accepted.get("*", 0.0))
    return gzip > 0 and gzip >= accepted.get("identity", 0.0)


def matches_etag(header: str | None, etag: str) -> bool:
    """Whether the If-None-Match header names that entity tag, compared weakly as the RFC asks."""
    if header is None:
        return False
    candidates = (candidate.strip() for candidate in header.split(","))
    return any(candidate == "*" or candidate.removeprefix("W/") == etag for candidate in candidates)


GZIP_LEVEL, LARGE_GZIP_LEVEL, LARGE_BYTES = 6, 1, 256 * 2**10
"""What is larger is compressed less: at level 6 a table of 100,000 rows would take seconds of a core, and save a tenth."""

SMALLEST_COMPRESSED = 1_024
"""Bytes under which compressing costs more than it saves: a response of one network packet stays one."""


def compressed(request: Request, body: bytes, media_type: str) -> Response:
    """That body, compressed if the client accepts that; for responses that are not cached."""
    headers = {"Vary": "Accept-Encoding", "Cache-Control": "no-store"}
    if len(body) >= SMALLEST_COMPRESSED and accepts_gzip(request.headers.get("Accept-Encoding")):
        headers["Content-Encoding"] = "gzip"
        body = gzipped(body)
    return Response(body, media_type=media_type, headers=headers)


@dataclass(frozen=True)
class Snapshot:
    """Bytes, and the name of the state they show."""

    version: str
    body: bytes


def cached(request: Request, media_type: str, *, version: str, take: Callable[[bool], Snapshot]) -> Response:
    """A negotiated representation with a strong ETag; 304 without making it if the client has it.

    Args:
        request: its Accept-Encoding and If-None-Match are honoured.
        media_type: of the representation.
        version: names the present state of what is represented.
        take: makes the representation of the state as it then is, which may be newer than `version`, gzipped where it is told
            so (`gzipped`). Equal versions must have equal bytes.
    """
    zipped = accepts_gzip(request.headers.get("Accept-Encoding"))
    held = request.headers.get("If-None-Match")
    if matches_etag(held, etag := _etag(version, media_type, zipped)):
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=_headers(etag))
    snapshot = take(zipped)
    headers = _headers(_etag(snapshot.version, media_type, zipped))
    if zipped:
        headers["Content-Encoding"] = "gzip"
    return Response(snapshot.body, media_type=media_type, headers=headers)


def _etag(version: str, media_type: str, zipped: bool) -> str:
    """A strong tag must differ wherever a byte does: by media type and by coding."""
    kind = media_type.rpartition("/")[2].rpartition(".")[2]
    return f'"{version}-{kind}{"-gzip" if zipped else ""}"'


def _headers(etag: str) -> dict[str, str]:
    return {"ETag": etag, "Vary": "Accept, Accept-Encoding", "Cache-Control": "no-cache"}


def gzipped(body: bytes) -> bytes:
    """The body compressed; the same bytes for the same body."""
    level = GZIP_LEVEL if len(body) < LARGE_BYTES else LARGE_GZIP_LEVEL
    return gzip.compress(body, level, mtime=0)  # no time stamp: the same content must give the same bytes
