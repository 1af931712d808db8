"""What names the entries of a table, kept beside it, so that its tag is known without reading them.

It is the sum of the entries' digests modulo 2¹²⁸. Whoever changes an entry takes its old digest away and adds the new one, in
the same transaction. Equal entries have equal sums, in whatever order they were stored; the sums of different ones differ, as
digests do, unless somebody makes records up for that very purpose.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy.orm import Session

from models.spec.base import canonical_json
from models.spec.table_files.table_io import record_text, text_digest
from models.spec.tables import TableInfo
from profiler_service.storage.schema import ContentsRow

_MODULUS = 1 << 128


def change(session: Session, table_id: str, *, removed: Iterable[str] = (), added: Iterable[str] = ()) -> None:
    """Keep that some of a table's entries have gone and others have come: their digests, of 32 hex digits each."""
    row = session.get(ContentsRow, table_id)
    if row is None:
        row = ContentsRow(table_id=table_id, digest=summed(()))
        session.add(row)
    row.digest = summed((row.digest, *added), removed)


def summed(added: Iterable[str], removed: Iterable[str] = ()) -> str:
    """The sum of some digests less that of others: 32 hex digits."""
    return f"{(sum(int(digest, 16) for digest in added) - sum(int(digest, 16) for digest in removed)) % _MODULUS:032x}"


def etag(session: Session, table_id: str, info: TableInfo) -> str:
    """The tag of a table with that info: 32 hex digits."""
    row = session.get(ContentsRow, table_id)
    return text_digest(canonical_json([record_text(info), summed(()) if row is None else row.digest]))
