"""What a client accepts: media types, content codings, and the versions it holds already (RFC 9110, sections 12 and 13)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


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
    """The offer that the Accept header likes best, the earliest of equals; None where it likes none.

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
    """Whether the Accept-Encoding header admits gzip and does not like the plain form better."""
    accepted = {preference.name: preference.quality for preference in preferences(header or "")}
    gzip = accepted.get("gzip", accepted.get("*", 0.0))
    return gzip > 0 and gzip >= accepted.get("identity", 0.0)


def matches_etag(header: str | None, etag: str) -> bool:
    """Whether the If-None-Match header names that entity tag, compared weakly as the RFC asks."""
    if header is None:
        return False
    candidates = (candidate.strip() for candidate in header.split(","))
    return any(candidate == "*" or candidate.removeprefix("W/") == etag for candidate in candidates)
