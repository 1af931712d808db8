"""A store on files and disks that are not as they should be: every problem is named, with what to do about it."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from models.spec.measurements import Measurement
from models.spec.tables import Table
from models.spec.wire import JobCreate
from profiler_service.errors import NewerDatabaseError, StorageError
from profiler_service.storage.sqlite_database import PRAGMAS
from profiler_service.storage.store import Store
from profiler_service.storage.visit_rows import unpack
from tests.support import table_samples as samples

NOBODY = 65_534


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A database with one table of one measurement."""
    path = tmp_path / "opclock.sqlite"
    with Store.open(path) as store:
        store.save_measurement(store.ensure_table(samples.info()), samples.measurement())
    return path


def edit(path: Path, statement: str, *values: object) -> None:
    """Change the file behind the store's back."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement, values)


def refused(path: Path, match: str, kind: type[StorageError] = StorageError) -> None:
    """Opening it fails with that message, names the file, and leaves it as it was."""
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(kind, match=match) as caught:
        Store.open(path, create=False)
    assert str(path) in str(caught.value)
    assert caught.value.hint
    assert before == (path.read_bytes() if path.is_file() else None)


@contextmanager
def unprivileged() -> Iterator[None]:
    """As a user whom file permissions bind."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


class TestOpening:
    def test_missing_directory(self, tmp_path: Path) -> None:
        with pytest.raises(StorageError, match=r"directory .* does not exist"):
            Store.open(tmp_path / "absent" / "opclock.sqlite")
        assert not list(tmp_path.iterdir())

    def test_directory(self, tmp_path: Path) -> None:
        refused(tmp_path, "is a directory")

    def test_missing_file(self, tmp_path: Path) -> None:
        refused(tmp_path / "absent.sqlite", "no such file")
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize("content", [b"no database at all, but long enough to be read as one" * 20, b"short"])
    def test_garbage(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "opclock.sqlite"
        path.write_bytes(content)
        refused(path, "not an SQLite database")

    def test_database_of_another_program(self, tmp_path: Path) -> None:
        path = tmp_path / "other.sqlite"
        edit(path, "CREATE TABLE songs (title TEXT)")
        refused(path, "another program")

    def test_database_of_a_later_release(self, path: Path) -> None:
        edit(path, "UPDATE alembic_version SET version_num = '9999'")
        refused(path, "schema 9999 is newer", NewerDatabaseError)

    def test_an_empty_file_becomes_a_database(self, tmp_path: Path) -> None:
        path = tmp_path / "opclock.sqlite"
        path.touch()
        with Store.open(path) as store:
            assert store.tables() == []

    @pytest.mark.parametrize(
        ("directory_mode", "match"), [(0o700, "may not be written .*readonly"), (0o500, "cannot be opened|may not be written")]
    )
    def test_read_only(self, path: Path, directory_mode: int, match: str) -> None:
        with tempfile.TemporaryDirectory() as folder:  # pytest's own are closed to other users
            there = Path(folder) / path.name
            there.write_bytes(path.read_bytes())
            there.chmod(0o444)
            Path(folder).chmod(directory_mode)
            if os.geteuid() == 0:
                os.chown(folder, NOBODY, -1)
            with unprivileged():
                refused(there, match)
            Path(folder).chmod(0o700)


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = shutil.which("mount")
    if mount is None or subprocess.run([mount, "-t", "tmpfs", "-o", "size=256k", "tmpfs", disk], check=False).returncode:
        pytest.skip("mounting a small file system needs root, on Linux; the same is tested with SQLite's own limit")
    yield disk
    subprocess.run(["umount", disk], check=True)


def fill(store: Store) -> list[Measurement]:
    """Save one measurement after another until the disk is full; those that were saved."""
    table_id = store.ensure_table(samples.info())
    saved: list[Measurement] = []
    problem = StorageError("no error at all")
    try:
        for channels in range(100, 5000):
            measurement = samples.measurement(samples.operator(channels))
            store.save_measurement(table_id, measurement)
            saved.append(measurement)
    except StorageError as error:
        problem = error
    assert "disk is full" in problem.message
    assert "Free some space" in problem.hint
    return saved


class TestFullDisk:
    def test_keeps_what_was_committed(self, tmp_path: Path) -> None:
        path = tmp_path / "opclock.sqlite"
        with Store.open(path, pragmas=PRAGMAS | {"max_page_count": "30"}) as store:
            saved = fill(store)
            assert len(saved) > 10
            assert store.table(samples.info().id()) == Table(info=samples.info(), entries=tuple(saved))
        with Store.open(path) as store:  # there is room again
            store.save_measurement(samples.info().id(), samples.measurement(samples.operator(99)))
            assert len(store.table(samples.info().id()).entries) == len(saved) + 1

    def test_of_a_real_disk(self, tiny_disk: Path) -> None:
        path = tiny_disk / "opclock.sqlite"
        with Store.open(path) as store:
            saved = fill(store)
            assert store.table(samples.info().id()) == Table(info=samples.info(), entries=tuple(saved))
        with Store.open(path) as store:
            assert store.table(samples.info().id()) == Table(info=samples.info(), entries=tuple(saved))
        with (tiny_disk / "more").open("wb", buffering=0) as more, suppress(OSError):
            while more.write(b"x" * 4096):
                pass
        with pytest.raises(StorageError, match="disk is full"):
            Store.open(tiny_disk / "new.sqlite")


class TestWorking:
    def test_locked_for_long(self, path: Path) -> None:
        with (
            Store.open(path, pragmas=PRAGMAS | {"busy_timeout": "20"}) as store,
            closing(sqlite3.connect(path, isolation_level=None)) as other,
        ):
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StorageError, match="another process keeps it locked"):
                store.check()
            assert len(store.tables()) == 1  # readers do not wait for writers
            other.execute("ROLLBACK")
            store.check()

    def test_its_own_long_transaction_is_no_problem(self, path: Path) -> None:
        """A scale that moves rewrites every entry of a target, which takes seconds."""
        writing, go_on = threading.Event(), threading.Event()

        def slow(_session: object) -> None:
            writing.set()
            assert go_on.wait(20)

        with Store.open(path, pragmas=PRAGMAS | {"busy_timeout": "20"}) as store:
            writer = threading.Thread(target=store._database.write, args=(slow,))
            writer.start()
            assert writing.wait(20)
            store.check()
            go_on.set()
            writer.join()
            store.check()

    def test_removed_meanwhile(self, path: Path) -> None:
        with Store.open(path) as store:
            store.check()
            path.unlink()
            with pytest.raises(StorageError, match="removed or moved"):
                store.check()

    def test_growing_while_it_is_looked_at(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Between one thread's look at the file and its comparison, another may see the file grown by a checkpoint."""
        look, looks = Path.stat, list[os.stat_result]()

        with Store.open(path) as store:

            def stat(self: Path, **options: bool) -> os.stat_result:
                found = look(self, **options)
                if self == path and not looks:
                    looks.append(found)
                    os.truncate(path, found.st_size + 4096)
                    store.tables()  # as another thread would
                return found

            monkeypatch.setattr(Path, "stat", stat)
            assert len(store.tables()) == 1
            os.truncate(path, looks[0].st_size)
            with pytest.raises(StorageError, match="cut from"):
                store.check()

    def test_damaged_pages(self, path: Path) -> None:
        data = bytearray(path.read_bytes())
        data[4096:] = b"\x55" * (len(data) - 4096)
        path.write_bytes(data)
        with pytest.raises(StorageError, match=r"it is damaged|it failed"):
            Store.open(path)

    @pytest.mark.parametrize("record", ['{"workload"', "{}", '{"status": "ok", "value_ms": 1}', "[]"])
    def test_a_damaged_record_is_named(self, path: Path, record: str) -> None:
        edit(path, "UPDATE measurements SET record = ?", record)
        with Store.open(path) as store:
            (table,) = store.tables()
            with pytest.raises(StorageError, match=f"table {table.id}"):
                store.table(table.id)
            with pytest.raises(StorageError, match=f"key {samples.measurement().key()}"):
                store.measurements(table.id, [samples.measurement().key()])

    def test_a_kind_of_operator_that_is_no_longer_known(self, path: Path) -> None:
        edit(path, "UPDATE measurements SET record = replace(record, 'zoomed_conv3x3', 'conv9x9')")
        with Store.open(path) as store:
            (table,) = store.tables()
            with pytest.raises(StorageError, match="unknown operator kind 'conv9x9'"):
                store.table(table.id)

    def test_a_damaged_request(self, path: Path) -> None:
        with Store.open(path) as store:
            job = store.create_job(JobCreate(space=samples.SPACE), store.tables()[0].id)
            edit(path, "UPDATE jobs SET request = '{}'")
            with pytest.raises(StorageError, match=f"job {job.id}"):
                store.job(job.id)

    @pytest.mark.parametrize("data", [b"", b"\x00\x01", b"x\x9cK\x04\x00\x00b\x00b"])
    def test_damaged_samples(self, data: bytes) -> None:
        with pytest.raises(StorageError, match="samples"):
            unpack(data)
