"""Bodies of answers: right ones, damaged ones, and those that would expand to gigabytes."""

from __future__ import annotations

import gzip
import tracemalloc

import pytest

from nas_client.bodies import DamagedBodyError, LargeBodyError, gather

MIB = 2**20
BOMB = gzip.compress(bytes(64 * MIB), mtime=0)
"""64 KB that stand for a thousand times as much."""


def test_a_body_comes_back_whole_however_it_is_cut() -> None:
    text = bytes(range(256)) * 100
    packed = gzip.compress(text)
    for size in (1, 7, len(packed)):
        chunks = [packed[start : start + size] for start in range(0, len(packed), size)]
        assert gather(chunks, "gzip", len(text)) == text
    assert gather([text[:100], text[100:]], "identity", len(text)) == text


def test_an_empty_body_needs_no_compression() -> None:
    """As of 304, and of a service that states a coding all the same."""
    assert gather([], "gzip", 10) == gather([b""], "gzip", 10) == b""


@pytest.mark.parametrize(("data", "coding"), [(BOMB, "gzip"), (bytes(2 * MIB), "identity")])
def test_a_large_body_is_refused_and_never_held(data: bytes, coding: str) -> None:
    tracemalloc.start()
    with pytest.raises(LargeBodyError, match=f"exceeds {MIB} bytes"):
        gather([data], coding, MIB)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * MIB


@pytest.mark.parametrize(
    ("data", "coding", "message"),
    [
        (gzip.compress(BOMB, mtime=0), "gzip, gzip", "encoded as 'gzip, gzip'"),
        (b"x", "br", "encoded as 'br'"),
        (b"no gzip", "gzip", "compression is damaged"),
        (gzip.compress(b"some text", mtime=0)[:-3], "gzip", "cut short"),
        (gzip.compress(b"some text", mtime=0) + b"more", "gzip", "something follows"),
        (gzip.compress(b"some text", mtime=0) + BOMB, "gzip", "something follows"),
    ],
)
def test_anything_but_one_whole_gzip_is_refused(data: bytes, coding: str, message: str) -> None:
    with pytest.raises(DamagedBodyError, match=message):
        gather([data], coding, MIB)
