"""Accept, Accept-Encoding and If-None-Match, as RFC 9110 reads them."""

from __future__ import annotations

import pytest

from profiler_service.api.content import accepts_gzip, best_media_type, matches_etag

JSON, ARROW, CSV = "application/json", "application/vnd.apache.arrow.stream", "text/csv"
OFFERS = (JSON, ARROW, CSV)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, JSON),
        ("", JSON),
        ("*/*", JSON),
        (ARROW, ARROW),
        ("TEXT/CSV", CSV),
        ("text/*", CSV),
        ("text/html, application/xhtml+xml, */*;q=0.8", JSON),
        (f"{JSON};q=0.5, {ARROW};q=0.9", ARROW),
        (f"{JSON};q=0.5, {CSV}; q=0.6 , {ARROW};q=0.4", CSV),
        (f"*/*;q=0.1, {CSV};q=0.2", CSV),
        # The most specific range decides, even where a wider one would like the type better.
        ("application/*;q=0.9, application/json;q=0.1, text/csv;q=0.5", ARROW),
        (f"*/*, {JSON};q=0", ARROW),
        (f"{JSON};version=1;q=0.4, {CSV};q=0.3", JSON),
        ("image/png", None),
        (f"{JSON};q=0", None),
        ("*/*;q=0", None),
        (f"{JSON};q=lots", None),
        (f"{JSON};q=7", None),
    ],
)
def test_the_best_liked_offer_is_chosen(header: str | None, expected: str | None) -> None:
    assert best_media_type(header, OFFERS) == expected


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, False),
        ("", False),
        ("gzip", True),
        ("GZip, deflate, br", True),
        ("*", True),
        ("*;q=0.5, gzip;q=0", False),
        ("gzip;q=0", False),
        ("gzip;q=0.001", True),
        ("identity;q=0.5, gzip;q=0.4", False),
        ("identity;q=0, gzip;q=0.4", True),
        ("br, deflate", False),
    ],
)
def test_gzip_is_used_only_where_it_is_welcome(header: str | None, expected: bool) -> None:
    assert accepts_gzip(header) is expected


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, False),
        ('"abc"', True),
        ('W/"abc"', True),
        ('"x", "abc" , "y"', True),
        ("*", True),
        ('"ab"', False),
        ("abc", False),
    ],
)
def test_an_etag_is_found_in_a_list(header: str | None, expected: bool) -> None:
    assert matches_etag(header, '"abc"') is expected
