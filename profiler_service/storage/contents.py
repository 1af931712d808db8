"""What names the entries of a table, kept beside it, so that its tag is known without reading them.

It is the sum of the entries' digests modulo 2¹²⁸. Whoever changes an entry takes its old digest away and adds the new one, in
the same transaction. Equal entries have equal sums, in whatever order they were stored; the sums of different ones differ, as
digests do, unless somebody makes records up for that very purpose.
"""

from __future__ import annotations

from collections.abc import Iterable

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from models.spec.base import canonical_json
from models.spec.table_files.table_io import record_text, text_digest
from models.spec.tables import TableInfo
from profiler_service.storage.schema import ContentsRow, MeasurementRow

log = structlog.get_logger(__name__)

_MODULUS = 1 << 128

_AT_ONCE = 10_000
"""Digests that are in memory at one time."""


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


def wrong(session: Session, table_id: str | None = None) -> dict[str, str]:
    """Table id to the sum of its entries' digests, where another one is kept: a process of an earlier release, which knows of
    none, may go on writing after the database has been migrated. Reads every entry's digest.

    Args:
        session: a transaction that sees one state.
        table_id: of the only table to look at; None for all.
    """
    digests = select(MeasurementRow.table_id, MeasurementRow.digest).where(MeasurementRow.is_operator)
    kept = select(ContentsRow.table_id, ContentsRow.digest)
    if table_id is not None:
        digests, kept = digests.where(MeasurementRow.table_id == table_id), kept.where(ContentsRow.table_id == table_id)
    known = {row.table_id: row.digest for row in session.execute(kept)}
    sums = dict.fromkeys(known, 0)
    for row in session.execute(digests.execution_options(yield_per=_AT_ONCE)):
        sums[row.table_id] = sums.get(row.table_id, 0) + int(row.digest, 16)
    found = {each: f"{number % _MODULUS:032x}" for each, number in sums.items()}
    return {each: digest for each, digest in found.items() if digest != known.get(each, summed(()))}


def mend(session: Session, table_ids: Iterable[str]) -> None:
    """Keep the sums of those tables that are wrong, as they are within this transaction."""
    for table_id in table_ids:
        for digest in wrong(session, table_id).values():
            session.merge(ContentsRow(table_id=table_id, digest=digest))
            log.warning("the tag of a table was that of other entries; it is right again", table=table_id)
