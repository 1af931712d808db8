"""Looks at a database and at the log of what happened to it, by SQL of its own: no code of the store or the runner is used.

The log is a list of events, each a dictionary with `event` and what belongs to it:

- `submitted`: `job`, `table`, `keys`, `token` (the idempotency key, or None)
- `saving`: `by`, `table`, `key`, `status`, before a write; `saved`: the same, after it was acknowledged
- `ended`: `job`, `state`, after it was acknowledged
- `lost`: `by`, a process that another one has replaced
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg

from profiler_service.storage.location import Location

Event = dict[str, Any]
ENDED = frozenset({"done", "failed", "cancelled"})


def violations(location: Location, log: Sequence[Event], *, over: bool = False) -> list[str]:
    """What should not be; empty where all is well.

    Args:
        location: the database.
        log: what happened, in order.
        over: whether every job should have ended.
    """
    rows = _rows(location)
    return [*_sound(location), *_entries(rows, log), *_jobs(rows, log, over=over), *_stale(log)]


def _rows(location: Location) -> dict[str, list[tuple[Any, ...]]]:
    statements = {
        "measurements": "SELECT table_id, key, status, record, digest, is_operator FROM measurements",
        "contents": "SELECT table_id, digest FROM contents",
        "jobs": "SELECT id, table_id, state, request, idempotency_key FROM jobs",
        "tables": "SELECT id FROM tables",
    }
    if isinstance(location, Path):
        with closing(sqlite3.connect(location)) as file:
            return {name: list(file.execute(statement)) for name, statement in statements.items()}
    with psycopg.connect(location.secret()) as server:
        return {name: server.execute(statement).fetchall() for name, statement in statements.items()}  # type: ignore[call-overload]


def _sound(location: Location) -> Iterator[str]:
    if isinstance(location, Path):
        with closing(sqlite3.connect(location)) as file:
            for pragma in ("integrity_check", "foreign_key_check"):
                found = [row for row in file.execute(f"PRAGMA {pragma}") if row != ("ok",)]
                if found:
                    yield f"{pragma}: {found}"


def _entries(rows: dict[str, list[tuple[Any, ...]]], log: Sequence[Event]) -> Iterator[str]:
    """At most one row of a table and key; each says what it is, and all of them what is kept of the table's contents; none that
    was acknowledged is gone, and no value gives way to a failure.
    """
    tables = {row[0] for row in rows["tables"]}
    for (table, key), number in Counter(row[:2] for row in rows["measurements"]).items():
        if number > 1:
            yield f"{number} rows of {table} {key}"
    statuses = {row[:2]: row[2] for row in rows["measurements"]}
    sums: Counter[str] = Counter()
    for table, key, status, record, digest, is_operator in rows["measurements"]:
        sums[table] += int(digest, 16) if is_operator else 0
        if table not in tables:
            yield f"a row of the unknown table {table}"
        if hashlib.sha256(record.encode()).hexdigest()[:32] != digest:
            yield f"the digest of {table} {key} is of another record"
        held = json.loads(record)
        if held.get("status", "ok") != status or (status == "ok") != (held.get("value_ms") is not None):
            yield f"the record of {table} {key} contradicts its status {status}"
    kept = dict(rows["contents"])
    for table in sorted(sums.keys() | kept.keys()):
        if int(kept.get(table, "0"), 16) != sums[table] % 2**128:
            yield f"what is kept of the contents of {table} is of other entries"
    # The last one acknowledged, or one that was begun later: who dies after a commit acknowledges nothing.
    acknowledged: set[tuple[str, str]] = set()
    possible: dict[tuple[str, str], set[str]] = {}
    for event in log:
        if event["event"] == "saving":
            known = possible.setdefault((event["table"], event["key"]), set())
            if known != {"ok"}:
                known.add(event["status"])
        elif event["event"] == "saved":
            possible[event["table"], event["key"]] = {event["status"]}
            acknowledged.add((event["table"], event["key"]))
    for row in acknowledged:
        if statuses.get(row) not in possible[row]:
            yield f"{row} was acknowledged as {possible[row]}, and is {statuses.get(row)}"


def _jobs(rows: dict[str, list[tuple[Any, ...]]], log: Sequence[Event], *, over: bool) -> Iterator[str]:
    """Every job that was acknowledged is there, once for each idempotency key; one that is done has all its keys."""
    states = {row[0]: row[2] for row in rows["jobs"]}
    present = {row[:2] for row in rows["measurements"]}
    tokens = [row[4] for row in rows["jobs"] if row[4] is not None]
    if len(tokens) != len(set(tokens)):
        yield "two jobs have the same idempotency key"
    by_token: dict[str, str] = {}
    for event in log:
        if event["event"] == "submitted":
            job = event["job"]
            if job not in states:
                yield f"job {job} was acknowledged, and is not there"
                continue
            if event["token"] is not None and by_token.setdefault(event["token"], job) != job:
                yield f"the idempotency key {event['token']} names two jobs"
            lacking = [key for key in event["keys"] if (event["table"], key) not in present]
            if states[job] == "done" and lacking:
                yield f"job {job} is done without {lacking}"
            if over and states[job] not in ENDED:
                yield f"job {job} is {states[job]} at the end"
        elif event["event"] == "ended" and states.get(event["job"]) != event["state"]:
            yield f"job {event['job']} ended as {event['state']}, and is {states.get(event['job'])}"


def _stale(log: Sequence[Event]) -> Iterator[str]:
    """Who was replaced saves nothing any more."""
    lost: set[str] = set()
    for event in log:
        if event["event"] == "lost":
            lost.add(event["by"])
        elif event["event"] == "saved" and event["by"] in lost:
            yield f"{event['by']} wrote after another process had taken its job: {event}"
