"""Tables on this machine: copies of a service's tables, and published tables by name.

A copy is one file: a line of JSON, then the bytes as they came. It is replaced atomically, and carries the digest of its own
content: a file that a full disk cut short, or that is damaged, is discarded and fetched again. The line has the ETag under
which the service confirms the copy.

A published table has a name such as `nvidia-h200/inductor/SPACE-1024x2048-fp16` (lut_data/README.md).
"""

from __future__ import annotations

import difflib
import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from models.spec.base import Record
from models.spec.errors import InvalidSpecError
from models.spec.table_cards import TABLE_SUFFIX
from nas_client.errors import TableChoiceError
from nas_client.settings import ClientSettings

MAX_TABLES = 64
"""The limit on copies: services on a new port for every run would fill the disk. Each takes a few hundred kilobytes."""

MAX_BYTES = 2**30
"""The limit on all copies together, for a service may send large tables. The newest is kept whatever it takes."""


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
    """Tables under one folder, made with the first copy; it holds the newest, within `MAX_TABLES` and `MAX_BYTES`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, url: str, table_id: str) -> Path:
        """The file of that table's copy."""
        name = hashlib.sha256(f"{url} {table_id}".encode()).hexdigest()[:32]
        return self._folder / f"{name}.table"

    def get(self, url: str, table_id: str) -> CachedTable | None:
        """The copy of the table; None where there is none, or a damaged one, which is removed."""
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
        """Store a copy, in place of an earlier one. Raises OSError."""
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
        kept = 0
        copies = [(path.stat(), path) for path in self._folder.glob("*.table")]
        for number, (found, path) in enumerate(sorted(copies, key=lambda copy: copy[0].st_mtime, reverse=True)):
            kept += found.st_size
            if number and (number >= MAX_TABLES or kept > MAX_BYTES):
                path.unlink(missing_ok=True)

    def discard(self, url: str, table_id: str) -> None:
        """Forget a table. Where it cannot be removed, the next `put` replaces it or says why not."""
        try:
            self.path(url, table_id).unlink(missing_ok=True)
        except OSError:
            return


LISTED = 5
"""Names that an error offers."""

_CHECKOUT = Path(__file__).resolve().parents[1] / "lut_data"
"""Where they are when the package runs from a checkout; installed by itself, it brings no tables."""


def may_be_name(source: str) -> bool:
    """Whether a table source can be meant as a name: `a/b/c`, where files have a suffix."""
    path = Path(source)
    return not path.is_absolute() and not path.exists() and path.suffix == "" and "\\" not in source


def named_table(name: str, settings: ClientSettings) -> Path:
    """The file of the published table of that name.

    Raises:
        TableChoiceError: there is no such table, and names the nearest; or no folder to look in, and says how to get one.
    """
    folder = settings.tables_dir or _CHECKOUT
    if not folder.is_dir():
        raise TableChoiceError(
            f"{name!r} is no file, and there are no published tables to look it up in: {folder} is no folder",
            hint="Set OPCLOCK_CLIENT_TABLES_DIR to the lut_data folder of a checkout of opclock.",
        )
    known = {
        path.relative_to(folder).as_posix().removesuffix(TABLE_SUFFIX): path for path in folder.glob(f"*/*/*{TABLE_SUFFIX}")
    }
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, sorted(known), n=LISTED, cutoff=0.4) or sorted(known)[:LISTED]
    raise TableChoiceError(
        f"{name!r} is neither a file nor a table in {folder}",
        hint=f"Near: {', '.join(near)}." if near else "None is published there yet; measure one, or name a file.",
    )
