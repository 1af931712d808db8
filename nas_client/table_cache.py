"""Tables kept on disk by service and table id, each with the ETag under which the service can confirm it.

One file per table: a line of JSON, then the bytes as they came. It is replaced atomically, and carries the digest of its own
content: a file cut short by a full disk, or damaged, is discarded and fetched again.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from models.spec.base import Record
from models.spec.errors import InvalidSpecError

MAX_TABLES = 64
"""More are not kept: a service on a port of its own for every run would fill the disk. Each takes a few hundred kilobytes."""


class _Header(Record):
    version: Literal[1] = 1
    url: str
    table_id: str
    etag: str
    sha256: str


@dataclass(frozen=True)
class CachedTable:
    """A table as the service sent it, in the format the client asks for."""

    etag: str
    body: bytes


class TableCache:
    """Tables under one folder, which is made when the first is kept; the `MAX_TABLES` kept last."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, url: str, table_id: str) -> Path:
        """Where that table is kept."""
        name = hashlib.sha256(f"{url} {table_id}".encode()).hexdigest()[:32]
        return self._folder / f"{name}.table"

    def get(self, url: str, table_id: str) -> CachedTable | None:
        """The kept table; None where there is none, or a damaged one, which is removed."""
        path = self.path(url, table_id)
        try:
            line, _, body = path.read_bytes().partition(b"\n")
            header = _Header.parse_json(line)
        except FileNotFoundError:
            return None
        except (OSError, InvalidSpecError):
            self.discard(url, table_id)
            return None
        if (header.url, header.table_id, header.sha256) != (url, table_id, hashlib.sha256(body).hexdigest()):
            self.discard(url, table_id)
            return None
        return CachedTable(header.etag, body)

    def put(self, url: str, table_id: str, table: CachedTable) -> None:
        """Keep a table in place of what was kept before. Raises OSError."""
        header = _Header(url=url, table_id=table_id, etag=table.etag, sha256=hashlib.sha256(table.body).hexdigest())
        self._folder.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=self._folder, suffix=".part")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(header.model_dump_json().encode() + b"\n" + table.body)
            Path(temporary).replace(self.path(url, table_id))
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        by_age = sorted(self._folder.glob("*.table"), key=lambda path: path.stat().st_mtime, reverse=True)
        for path in by_age[MAX_TABLES:]:
            path.unlink(missing_ok=True)

    def discard(self, url: str, table_id: str) -> None:
        """Forget a table. Where it cannot be removed, the next `put` replaces it or says why not."""
        try:
            self.path(url, table_id).unlink(missing_ok=True)
        except OSError:
            return
