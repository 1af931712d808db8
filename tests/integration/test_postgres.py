"""A database on a PostgreSQL server: what is wrong with it is named, and locks and old schemas are handled as with a file."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest
from alembic import command as alembic
from sqlalchemy import MetaData, create_engine, insert, text

from models.spec.errors import ExitCode
from models.spec.wire import JobCreate, JobState
from profiler_service.errors import (
    DatabaseError,
    EmptyDatabaseError,
    JobConflictError,
    JobHeldError,
    NewerDatabaseError,
    ServiceStartError,
    StorageError,
)
from profiler_service.jobs.process_lock import run_lock, sole_run
from profiler_service.storage import server_upkeep
from profiler_service.storage.database import Patience
from profiler_service.storage.location import PostgresUrl
from profiler_service.storage.postgres_database import connected, postgres_engine
from profiler_service.storage.store import Store
from profiler_service.storage.upgrade import alembic_config
from profiler_service.storage.upkeep import backup, require_sound, restore, sole_use, warnings
from tests.integration.test_migrations import OLD_DATABASES, check_example
from tests.support import table_samples as samples
from tests.support.local_service import PROFILER_SERVICE, serving, wait_until
from tests.support.postgres import Server, running_server

PASSWORD = "s3cret%40word"
TERMINATE = (
    "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity "
    "WHERE pid <> pg_backend_pid() AND datname = current_database()"
)


@pytest.fixture
def url(postgres: Server) -> PostgresUrl:
    return postgres.emptied_database()


@pytest.fixture
def store(url: PostgresUrl) -> Iterator[Store]:
    with Store.open(url) as store:
        yield store


def patience(limit_s: float = 60.0) -> Patience:
    return Patience(limit_s, on_wait=lambda problem: None, stopped=lambda: False, busy_timeout_s=0.2, pause_s=0.05)


def edit(url: PostgresUrl, *statements: str) -> None:
    with psycopg.connect(url.secret(), autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)  # type: ignore[call-overload]


class TestOpening:
    def refused(self, url: PostgresUrl, match: str, kind: type[StorageError] = StorageError) -> None:
        with pytest.raises(kind, match=match) as caught:
            Store.open(url, create=False)
        assert str(url) in caught.value.message
        assert caught.value.hint
        chain: BaseException | None = caught.value
        while chain is not None:
            assert "s3cret" not in f"{chain} {chain!r}"
            chain = chain.__cause__

    def test_no_server(self, tmp_path: Path) -> None:
        self.refused(PostgresUrl(f"postgresql://me:{PASSWORD}@/x?host={tmp_path}"), "cannot be reached", DatabaseError)

    def test_a_url_that_libpq_cannot_read(self) -> None:
        self.refused(PostgresUrl("postgresql://me:s3cret%zz@/x"), r"libpq cannot read this URL .*\*\*\*")

    def test_no_such_database(self, postgres: Server) -> None:
        self.refused(postgres.url("nonesuch", password=PASSWORD), '"nonesuch" does not exist')

    def test_a_database_without_tables_gets_them_where_that_is_wanted(self, postgres: Server) -> None:
        url = postgres.new_database()
        self.refused(url, "no tables yet", EmptyDatabaseError)
        with Store.open(url) as store:
            assert store.tables() == []
        edit(url, "UPDATE alembic_version SET version_num = '9999'")
        self.refused(url, "schema 9999 is newer", NewerDatabaseError)
        edit(url, "DROP TABLE alembic_version")
        self.refused(url, "another program")

    def test_several_processes_make_the_tables_at_once(self, postgres: Server) -> None:
        url, problems = postgres.new_database(), list[BaseException]()

        def make() -> None:
            try:
                Store.open(url).close()
            except BaseException as problem:
                problems.append(problem)

        threads = [threading.Thread(target=make) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not problems

    def test_a_role_that_may_only_read_is_told_so(self, store: Store, url: PostgresUrl) -> None:
        edit(url, f"ALTER DATABASE {url.name} SET default_transaction_read_only = on")
        try:
            self.refused(url, "may not be written", DatabaseError)
        finally:
            edit(
                url, "SET default_transaction_read_only = off", f"ALTER DATABASE {url.name} RESET default_transaction_read_only"
            )


@pytest.mark.parametrize("name", sorted(path.name for path in OLD_DATABASES.glob("*.sqlite")))
def test_a_database_of_an_old_schema_reaches_the_present_and_its_tables_are_kept(name: str, postgres: Server) -> None:
    """The rows of the files that each release wrote, in a database on a server that has the same schema."""
    url, revision = postgres.new_database(), name.removeprefix("database_").removesuffix(".sqlite")
    old, new, metadata = create_engine(f"sqlite:///{OLD_DATABASES / name}"), postgres_engine(url, kept=False), MetaData()
    with old.connect() as source, new.begin() as target:
        alembic.upgrade(alembic_config(target), revision)
        metadata.reflect(target)
        for table in metadata.sorted_tables:
            if table.name != "alembic_version":
                rows = [dict(row._mapping) for row in source.execute(table.select())]
                if rows:
                    target.execute(insert(table), rows)
        target.execute(text("SELECT setval('jobs_number_seq', 1 + max(number)) FROM jobs"))
    old.dispose()
    for _ in range(2):  # the second time nothing is left to do
        with Store.open(url, create=False) as store:
            check_example(store)
    kept = "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'before-%'"
    schemas = [row[0] for row in postgres.execute(kept, url.name)]
    head = sorted(path.name for path in OLD_DATABASES.glob("*.sqlite"))[-1]
    assert len(schemas) == (0 if name == head else 1)
    for schema in schemas:
        assert postgres.execute(f'SELECT count(*) FROM "{schema}".jobs', url.name) == [(2,)]
        assert postgres.execute(f'SELECT version_num FROM "{schema}".alembic_version', url.name) == [(revision,)]


class TestTrouble:
    def test_a_writer_waits_for_another_and_says_so_when_that_takes_long(self, store: Store, url: PostgresUrl) -> None:
        with Store.open(url, busy_timeout_s=0.1) as other:
            entered, leave = threading.Event(), threading.Event()

            def hold() -> None:
                entered.set()
                leave.wait(60)

            thread = threading.Thread(
                target=lambda: store.create_job(
                    JobCreate(space=samples.SPACE), other.ensure_table(samples.info()), before_adding=hold
                )
            )
            thread.start()
            assert entered.wait(60)
            try:
                for call in (other.check, lambda: other.ensure_table(samples.info(protocol_version=7))):
                    with pytest.raises(DatabaseError, match="another process keeps it locked") as caught:
                        call()
                    assert caught.value.passing
                assert other.jobs() == []  # readers do not wait
                store.check()  # while a thread of its own writes, it can be written
            finally:
                leave.set()
                thread.join()
            other.check()

    def test_lost_connections_are_made_anew(self, store: Store, postgres: Server, url: PostgresUrl) -> None:
        table_id = store.ensure_table(samples.info())
        postgres.execute(TERMINATE, url.name)
        store.save_measurement(table_id, samples.measurement())
        assert len(store.table(table_id).entries) == 1

    def test_a_text_with_a_nul_is_stored_and_sought(self, store: Store) -> None:
        """Messages of runtimes, and names in requests, may hold what the server cannot."""
        job = store.create_job(JobCreate(space=samples.SPACE), store.ensure_table(samples.info()))
        assert store.update_job(job.id, message="a\0b").message == "a\0b"
        assert store.job(job.id).message == "a\N{REPLACEMENT CHARACTER}b"
        assert store.measurements(job.table_id, ["\0"]) == {}
        assert store.measured_keys(job.table_id, "\0") == []

    def test_it_is_read_as_a_whole_and_an_unsafe_server_is_warned_of(self, store: Store, url: PostgresUrl) -> None:
        store.save_measurement(store.ensure_table(samples.info()), samples.measurement())
        require_sound(url)
        assert [line.split()[0] for line in warnings(url)] == ["fsync"]

    def test_copies_are_left_to_the_servers_programs(self, url: PostgresUrl, tmp_path: Path) -> None:
        with pytest.raises(StorageError) as refused:
            backup(PostgresUrl("postgresql://me:secret@box/x"), tmp_path / "a copy")
        command = f"pg_dump --format=custom --file='{tmp_path}/a copy' --dbname='postgresql://box/x?user=me'"
        assert refused.value.hint == f"Run: {command}"
        with pytest.raises(StorageError, match="restore command of its own"):
            restore(tmp_path / "copy", url)


def test_a_server_that_is_restarted_loses_nothing_and_no_lock_for_long() -> None:
    with running_server() as server:
        url = server.new_database()
        with Store.open(url) as store, server_upkeep.sole_use(url, look_s=0.05):
            job = store.create_job(JobCreate(space=samples.SPACE), table_id := store.ensure_table(samples.info()))
            waits: list[str] = []

            def on_wait(problem: DatabaseError) -> None:
                waits.append(problem.message)
                if server.process is None:
                    server.start()

            patient = Patience(60.0, on_wait=on_wait, stopped=lambda: False, pause_s=0.05)
            with sole_run(url, job.id) as guard, store.patient(patient, guard) as running:
                running.save_measurement(table_id, samples.measurement())
                server.stop()
                running.save_measurement(table_id, samples.measurement(samples.operator(9)))
                assert waits
                assert all("server" in wait for wait in waits)
                assert len(running.table(table_id).entries) == 2
                assert not run_lock(url, job.id).acquire(), "taken again"

            def refused() -> bool:
                with suppress(ServiceStartError), sole_use(url):
                    return False
                return True

            wait_until(refused)


class TestLocks:
    def test_who_lost_the_lock_on_a_job_to_another_cannot_write(self, store: Store, postgres: Server, url: PostgresUrl) -> None:
        table_id = store.ensure_table(samples.info())
        job = store.create_job(JobCreate(space=samples.SPACE), table_id)
        stale, later = samples.measurement(value_ms=1.0), samples.measurement(value_ms=2.0)
        with sole_run(url, job.id) as guard, store.patient(patience(), guard) as writer:
            with pytest.raises(JobHeldError, match=r"process \d+ \(.*runs job"), sole_run(url, job.id):
                pass
            writer.save_measurement(table_id, stale)
            postgres.execute(TERMINATE, url.name)
            with sole_run(url, job.id) as other, store.patient(patience(), other) as new:
                new.save_measurement(table_id, later)
                with pytest.raises(JobHeldError):
                    writer.save_measurement(table_id, stale)
                new.update_job(job.id, state=JobState.DONE)
            with pytest.raises(JobConflictError, match="ended by another process"):
                writer.save_measurement(table_id, stale)
            assert store.table(table_id).entries == (later,)

    def test_a_lock_ends_with_its_process_and_not_while_it_is_stopped(self, store: Store, url: PostgresUrl) -> None:
        script = (
            "import sys, time; from profiler_service.jobs.process_lock import run_lock; "
            "from profiler_service.storage.location import PostgresUrl; "
            "lock = run_lock(PostgresUrl(sys.argv[1]), 'a' * 32); print(lock.acquire(), flush=True); time.sleep(60)"
        )
        with subprocess.Popen([sys.executable, "-c", script, url.secret()], stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                assert process.stdout.readline() == "True\n"
                process.send_signal(signal.SIGSTOP)
                lock = run_lock(url, "a" * 32)
                assert not lock.acquire()
                assert f"process {process.pid} " in lock.holder()
            finally:
                process.kill()
        wait_until(lock.acquire)
        lock.release()
        assert run_lock(url, "b" * 32).holder() == "another process"


def test_commands_and_a_service_use_a_server(postgres: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = postgres.new_database()
    with_password = f"postgresql://opclock:{PASSWORD}@/{url.name}?host={postgres.folder}"
    monkeypatch.chdir(tmp_path)

    def command(*arguments: object) -> subprocess.CompletedProcess[str]:
        words = [str(PROFILER_SERVICE), *map(str, arguments), "--database", with_password]
        ended = subprocess.run(words, capture_output=True, text=True, timeout=240, check=False)
        assert "s3cret" not in ended.stdout + ended.stderr
        return ended

    assert command("token", "create", "ci", "--role", "read").returncode == 0
    refused = command("backup", "copy")
    assert refused.returncode == ExitCode.BAD_INPUT
    assert "pg_dump --format=custom --file=copy" in refused.stderr.replace("\n", " ")
    with connected(url) as connection:
        row = connection.execute("SELECT count(*) FROM tokens").fetchone()
    assert row == (1,)
    with serving(tmp_path / "log", database=with_password) as service:
        second = command("serve", "--port", 0)
        assert second.returncode == ExitCode.BAD_INPUT
        assert "another service uses the database" in second.stderr
        assert service.stop() == 0
    assert "s3cret" not in (tmp_path / "log.log").read_text()
    assert not list(tmp_path.glob("postgresql*"))
