"""Where measurements, visits and jobs are stored."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from sqlalchemy.orm import Session

from models.spec.measurements import Measurement, Status
from models.spec.rebuilds import RebuildSpread
from models.spec.scale import Scale, ScaleCheck
from models.spec.table_files.columns import TableColumns
from models.spec.tables import Table, TableInfo
from models.spec.validations import ValidationCreate, ValidationPoint, ValidationPublic
from models.spec.verdicts import Verdict
from models.spec.wire import TablePublic
from profiler_service.measure.visits import Visit
from profiler_service.storage import contents, job_rows, scale_rows, table_rows, token_rows, validation_rows, visit_rows
from profiler_service.storage.database import BUSY_TIMEOUT_S, Database, Patience
from profiler_service.storage.job_store import JobStore
from profiler_service.storage.location import Location
from profiler_service.storage.opening import open_database
from profiler_service.storage.places import Places
from profiler_service.storage.sqlite_database import PRAGMAS
from profiler_service.tokens import StoredToken, Token

TABLES_AT_ONCE, TABLES_WAITING, TABLE_WAIT_S = 4, 12, 20.0
"""Whole tables that are read at once, and that may wait for it, so that other requests find threads and memory."""


class Store(JobStore):
    """One database, for any number of threads and processes at once. Closed by `close` or at the end of a `with`.

    Every method is one transaction: it happens completely or not at all, and what it wrote when it returned outlives the
    process, however that ends. Methods return frozen records, never rows that are tied to the database.

    Raises (from every method, besides what it names itself):
        StorageError: the disk is full, the database is read-only, locked for long, damaged, or cannot be reached. What was
            committed stays.
    """

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._table_places = Places("tables are being read", inside=TABLES_AT_ONCE, waiting=TABLES_WAITING, wait_s=TABLE_WAIT_S)

    @classmethod
    def open(
        cls,
        location: Location,
        *,
        create: bool = True,
        pragmas: Mapping[str, str] = PRAGMAS,
        busy_timeout_s: float = BUSY_TIMEOUT_S,
    ) -> Self:
        """Open a database, bringing it to this release's schema.

        Args:
            location: a file, whose directory must exist, or the URL of a database on a server, which must exist.
            create: whether a missing file is made, and an empty database gets its tables.
            pragmas: SQLite settings of every connection.
            busy_timeout_s: how long a transaction waits for another writer.

        Raises:
            NewerDatabaseError: a later release wrote it.
            StorageError: it cannot be opened or written, or is no database of ours. It is left as it was.
        """
        return cls(open_database(location, create=create, pragmas=pragmas, busy_timeout_s=busy_timeout_s))

    def patient(self, patience: Patience, guard: Callable[[Session], None] | None = None) -> Store:
        """The same database by connections of its own: nobody else can use them up, and they wait as told. To be closed too.

        Args:
            patience: how they wait.
            guard: called in each transaction that writes, at its beginning; what it raises is raised, and nothing is written.
        """
        return Store(self._database.patient(patience, guard))

    def close(self) -> None:
        """Close its connections. Safe to call twice."""
        self._database.close()

    def __enter__(self) -> Self:
        """The store itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close its connections."""
        self.close()

    @property
    def location(self) -> Location:
        """The database's file or URL."""
        return self._database.location

    def check(self) -> None:
        """Raises DatabaseError unless the database is there, is the one that was opened, and can be written."""
        self._database.check()

    def ensure_table(self, info: TableInfo) -> str:
        """The id of the table with that identity, made now unless it exists; then the first one's provenance stays."""
        return self._database.write(lambda session: table_rows.ensure(session, info))

    def table_info(self, table_id: str) -> TableInfo:
        """The table's identity, provenance, scale and check. Raises TableNotFoundError."""
        return self._database.read(lambda session: table_rows.info(session, table_id))

    def tables(self) -> list[TablePublic]:
        """Every table, oldest first, with counts and ETags."""
        return self._database.read(table_rows.summaries)

    def table_counts(self) -> dict[str, tuple[int, int]]:
        """Table id to its numbers of values and of failures, networks included; cheap, since no record is read."""
        return self._database.read(table_rows.counts)

    def table_summary(self, table_id: str) -> TablePublic:
        """One table as in `tables()`; cheap, since no measurement is read. Raises TableNotFoundError."""
        return self._database.read(lambda session: table_rows.summary(session, table_id))

    def table_etag(self, table_id: str) -> str:
        """The tag in its summary, without anything being counted. Raises TableNotFoundError."""
        return self._database.read(lambda session: table_rows.etag(session, table_id))

    def mend_etags(self, table_id: str | None = None) -> None:
        """Make the tags right of tables into which a process of an earlier release went on writing after the migration.

        Costs a pass over all entries, and holds up no writer where all are right.

        Args:
            table_id: of the only table to look at; None for all.
        """
        if found := self._database.read(lambda session: contents.wrong(session, table_id)):
            self._database.write(lambda session: contents.mend(session, found))

    def table(self, table_id: str) -> Table:
        """The table with its operators' measurements; those of architectures are had by key.

        A large table takes seconds and hundreds of megabytes, so that only some are read at once (`TABLES_AT_ONCE`).

        Raises:
            TableNotFoundError: no such table.
            BusyError: too many are being read.
        """
        with self._table_places.one():
            return self._records(table_id).table()  # no connection is held while records are parsed

    def table_columns(self, table_id: str) -> tuple[str, TableColumns]:
        """The tag of a table as it is, and what `table` gives as columns, in a fraction of the time. Raises the same."""
        with self._table_places.one():
            found = self._records(table_id)
            return found.etag, found.columns()

    def _records(self, table_id: str) -> table_rows.Records:
        return self._database.read(lambda session: table_rows.records(session, table_id))

    def learn_scale(self, table_id: str) -> Scale | None:
        """Learn the scale of the table's target from every visit ever made there, and bring all of its tables to it.

        The scale, or None where there is no visit to learn from. Raises TableNotFoundError.
        """
        return self._database.write(lambda session: scale_rows.learn(session, table_rows.require(session, table_id).target_id))

    def set_scale(self, table_id: str, scale: Scale) -> None:
        """Make that the scale of the table's target, and bring all of its tables to it. Raises TableNotFoundError."""
        self._database.write(lambda session: scale_rows.put(session, table_rows.require(session, table_id).target_id, scale))

    def update_verdict(self, table_id: str) -> Verdict:
        """The verdict on a table as it stands, which is stored for lists of tables. Raises TableNotFoundError."""
        entries = self._records(table_id).columns().qualities()  # before the transaction, since others may write meanwhile
        return self._database.write(lambda session: table_rows.set_verdict(session, table_id, entries))

    def set_check(self, table_id: str, check: ScaleCheck) -> None:
        """Keep how the latest plain check of the table came out. Raises TableNotFoundError."""
        self._database.write(lambda session: table_rows.set_check(session, table_id, check))

    def add_rebuild_spread(self, table_id: str, spread: RebuildSpread) -> None:
        """Keep how much builds of some entries differ, beside what is known of others (`models.spec.rebuilds.merged`).

        Raises:
            TableNotFoundError: no such table.
        """
        self._database.write(lambda session: table_rows.add_rebuild_spread(session, table_id, spread))

    def measurements(self, table_id: str, keys: Iterable[str]) -> dict[str, Measurement]:
        """Workload key to measurement, of those keys that the table has. Raises TableNotFoundError."""
        wanted = list(keys)
        return self._database.read(lambda session: table_rows.measurements(session, table_id, wanted))

    def record_texts(self, table_id: str, keys: Iterable[str]) -> dict[str, str]:
        """The same as they are stored (`models.spec.table_files.table_io.record_text`), without reading them."""
        wanted = list(keys)
        return self._database.read(lambda session: table_rows.record_texts(session, table_id, wanted))

    def measured_keys(self, table_id: str, prefix: str = "") -> list[str]:
        """Sorted keys of the operators and networks with a measurement, of those that begin so. Raises TableNotFoundError."""
        return self._database.read(lambda session: table_rows.keys(session, table_id, prefix))

    def save_measurement(self, table_id: str, measurement: Measurement, *, reference_ms: float | None = None) -> bool:
        """Keep a measurement, in place of an earlier one of the same workload; a failure takes no value's place.

        Args:
            table_id: of the table.
            measurement: what is saved.
            reference_ms: of the scale that it was made in; it is brought to the target's present one. None where that is it.

        Returns:
            Whether it was kept.

        Raises:
            TableNotFoundError: no such table.
        """

        def save(session: Session) -> bool:
            row, saved = table_rows.require(session, table_id), measurement
            if reference_ms is not None and (scale := scale_rows.current(session, row.target_id)) is not None:
                saved = scale_rows.rescaled(saved, scale.reference_ms / reference_ms)
            return bool(table_rows.save(session, table_id, [saved]))

        return self._database.write(save)

    def import_table(self, table: Table) -> str:
        """Add a table, or what one of the same identity lacks; a good measurement that is here already stays.

        Returns:
            The table's id.

        Raises:
            TableMismatchError: the two are on scales that cannot be of one device.
        """
        return self._database.write(lambda session: table_rows.import_table(session, table))

    def add_validation(self, table_id: str, validation: ValidationCreate) -> ValidationPublic:
        """Keep a validation beside its table, the oldest making room for it. Raises TableNotFoundError."""
        return self._database.write(lambda session: validation_rows.add(session, table_id, validation))

    def validations(self, table_id: str) -> list[ValidationPublic]:
        """The validations of a table, newest first. Raises TableNotFoundError."""
        return self._database.read(lambda session: validation_rows.of_table(session, table_id))

    def validation(self, validation_id: str) -> tuple[ValidationPublic, tuple[ValidationPoint, ...]]:
        """One validation with its points. Raises ValidationNotFoundError."""
        return self._database.read(lambda session: validation_rows.get(session, validation_id))

    def save_visits(self, table_id: str, visits: Sequence[Visit]) -> None:
        """Keep visits, in place of earlier ones of the same graph, round and group. Raises TableNotFoundError."""
        self._database.write(lambda session: visit_rows.save(session, table_id, visits))

    def visits(self, table_id: str, graph_keys: Iterable[str]) -> list[Visit]:
        """The visits of those graphs, ordered by graph, round and group. Raises TableNotFoundError."""
        wanted = list(graph_keys)
        return self._database.read(lambda session: visit_rows.load(session, table_id, wanted))

    def visited_graphs(self, table_id: str) -> list[str]:
        """Keys of the graphs that have visits, sorted. Raises TableNotFoundError."""
        return self._database.read(lambda session: visit_rows.graphs(session, table_id))

    def forget_visits(
        self, table_id: str, graph_keys: Iterable[str], *, before: datetime, slower_than_ms: float | None = None
    ) -> None:
        """Delete the visits of those graphs that started before an instant. Raises TableNotFoundError.

        Args:
            table_id: of the table.
            graph_keys: of the graphs.
            before: the instant.
            slower_than_ms: where given, only visits that do not count as good: rejected, or with a slower sentinel.
        """
        unwanted = list(graph_keys)
        self._database.write(lambda session: visit_rows.forget(session, table_id, unwanted, before, slower_than_ms))

    def count_visits(self, table_id: str, *, since: datetime) -> int:
        """How many visits of a table's graphs have started since an instant. Raises TableNotFoundError."""
        return self._database.read(lambda session: visit_rows.count(session, table_id, since))

    def next_round(self, table_id: str) -> int:
        """The number of a round in which nothing of the table was visited yet. Raises TableNotFoundError."""
        return self._database.read(lambda session: visit_rows.next_round(session, table_id))

    def failures(self, table_id: str, limit: int) -> tuple[dict[Status, int], list[Measurement]]:
        """How many operators and networks failed in each way, and the first of them. Raises TableNotFoundError."""
        return self._database.read(lambda session: table_rows.failures(session, table_id, limit))

    def table_briefs(self) -> list[tuple[str, TableInfo, Verdict | None]]:
        """Id, identity and verdict of every table, newest first; cheap, since no measurement is read."""
        return self._database.read(table_rows.briefs)

    def attempt(self, job_id: str, number: int) -> Store:
        """The same database for one attempt at a job: what writes raises StaleAttemptError once a later one has begun."""
        return Store(self._database.guarded(lambda session: job_rows.require_attempt(session, job_id, number)))

    def add_token(self, stored: StoredToken) -> None:
        """Keep a token. Raises TokenConflictError if there is one of that name."""
        self._database.write(lambda session: token_rows.add(session, stored))

    def tokens(self) -> list[StoredToken]:
        """All tokens, oldest first, those that have ended included."""
        return self._database.read(token_rows.every)

    def revoke_token(self, name: str) -> Token:
        """End a token now; the first time counts. Raises TokenNotFoundError."""
        return self._database.write(lambda session: token_rows.revoke(session, name, datetime.now(UTC)))

    def forget_token(self, name: str) -> Token:
        """Delete a token, so that its name is free again. Raises TokenNotFoundError."""
        return self._database.write(lambda session: token_rows.forget(session, name))
