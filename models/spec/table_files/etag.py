"""A name for a table's contents: equal contents have equal tags, in whatever order or place they are stored."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from models.spec.base import Record, canonical_json
from models.spec.tables import Table, TableInfo


def record_text(record: Record) -> str:
    """The canonical JSON of a record without its absent fields, so that a field added later changes no earlier text."""
    return canonical_json(record.model_dump(mode="json", exclude_none=True))


def text_digest(text: str) -> str:
    """32 hex digits that name a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def etag_of(info: TableInfo, entry_digests: Iterable[str]) -> str:
    """The tag of a table whose entries' records have these digests, in any order; see `table_etag`."""
    return text_digest(canonical_json([record_text(info), sorted(entry_digests)]))


def table_etag(table: Table) -> str:
    """32 hex digits that name the table's contents: its info and every field of every entry.

    It names contents, not bytes: an HTTP ETag of one representation adds that representation's format.
    """
    return etag_of(table.info, (text_digest(record_text(entry)) for entry in table.entries))
