"""Bodies of answers, decompressed within a limit: a few hundred bytes of gzip can stand for gigabytes."""

from __future__ import annotations

import zlib
from collections.abc import Iterable

_GZIP = 16 + zlib.MAX_WBITS


class LargeBodyError(Exception):
    """A body exceeds the limit."""


class DamagedBodyError(Exception):
    """A body is cut short, damaged, or in an encoding that was not asked for."""


def gather(chunks: Iterable[bytes], coding: str, most_bytes: int) -> bytes:
    """The body in those chunks. Never are more than `most_bytes` of it held, and one chunk.

    Args:
        chunks: as they travelled.
        coding: the Content-Encoding, lower case: `identity` or `gzip`.
        most_bytes: limit on the body, decompressed.

    Raises:
        LargeBodyError: the body is larger.
        DamagedBodyError: it is damaged, or encoded otherwise, as by gzip twice.
    """
    if coding not in ("identity", "gzip"):
        raise DamagedBodyError(f"it is encoded as {coding!r}, where gzip or nothing was asked for")
    unzip = zlib.decompressobj(_GZIP) if coding == "gzip" else None
    body = bytearray()
    empty = True
    for chunk in chunks:
        empty = empty and not chunk
        if unzip is None:
            body += chunk
        else:
            try:
                body += unzip.decompress(chunk, most_bytes - len(body) + 1)
            except zlib.error as error:
                raise DamagedBodyError(f"its compression is damaged ({error})") from error
        if len(body) > most_bytes:
            raise LargeBodyError(f"an answer exceeds {most_bytes} bytes{' decompressed' if unzip else ''}, the limit")
        if unzip is not None and unzip.unused_data:
            raise DamagedBodyError("something follows its compressed part")
    if unzip is not None and not unzip.eof and not empty:
        raise DamagedBodyError("its compressed part was cut short")
    return bytes(body)
