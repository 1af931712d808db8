"""Copies of a database in use, putting them back, one service at a time, and what its owner is warned of."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import textwrap
from contextlib import closing
from pathlib import Path

import pytest

from profiler_service.errors import DatabaseError, ServiceStartError, StorageError
from profiler_service.storage.store import Store
from profiler_service.storage.upkeep import (
    backup,
    has_wal_reset_bug,
    network_file_system,
    require_sound,
    restore,
    sole_use,
    warnings,
)
from tests.support import table_samples as samples


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "opclock.sqlite"
    with Store.open(path) as store:
        store.save_measurement(store.ensure_table(samples.info()), samples.measurement())
    return path


def entries(path: Path) -> int:
    with Store.open(path, create=False) as store:
        return sum(ok for ok, _ in store.table_counts().values())


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[4096:] = b"\x55" * (len(data) - 4096)
    path.write_bytes(data)


class TestBackup:
    def test_of_a_database_in_use_has_what_was_committed(self, path: Path, tmp_path: Path) -> None:
        with Store.open(path) as store:
            store.save_measurement(samples.info().id(), samples.measurement(samples.operator(77)))
            size = backup(path, tmp_path / "copy")
        assert size == (tmp_path / "copy").stat().st_size
        assert entries(tmp_path / "copy") == 2

    def test_overwrites_nothing(self, path: Path, tmp_path: Path) -> None:
        (tmp_path / "copy").write_text("precious")
        with pytest.raises(StorageError, match="exists already"):
            backup(path, tmp_path / "copy")
        assert (tmp_path / "copy").read_text() == "precious"

    def test_of_a_damaged_database_leaves_no_copy(self, path: Path, tmp_path: Path) -> None:
        damage(path)
        before = set(tmp_path.iterdir())
        with pytest.raises(StorageError, match="damaged"):
            backup(path, tmp_path / "copy")
        assert {file for file in tmp_path.iterdir() if "copy" in file.name} == set()
        assert before <= set(tmp_path.iterdir())

    def test_into_a_directory_that_is_not_there(self, path: Path, tmp_path: Path) -> None:
        with pytest.raises(StorageError):
            backup(path, tmp_path / "absent" / "copy")


class TestRestore:
    def test_brings_the_copys_contents_back_and_keeps_the_former_file(self, path: Path, tmp_path: Path) -> None:
        backup(path, tmp_path / "copy")
        with Store.open(path) as store:
            store.save_measurement(samples.info().id(), samples.measurement(samples.operator(77)))
        former = restore(tmp_path / "copy", path)
        assert former is not None
        assert (entries(path), entries(former), entries(tmp_path / "copy")) == (1, 2, 1)

    def test_of_a_damaged_database(self, path: Path, tmp_path: Path) -> None:
        backup(path, tmp_path / "copy")
        damage(path)
        restore(tmp_path / "copy", path)
        assert entries(path) == 1

    def test_makes_a_database_where_there_is_none(self, path: Path, tmp_path: Path) -> None:
        assert restore(path, tmp_path / "new.sqlite") is None
        assert entries(tmp_path / "new.sqlite") == 1

    def test_a_log_without_its_database_is_not_played_into_the_restored_one(self, path: Path, tmp_path: Path) -> None:
        backup(path, tmp_path / "copy")
        log = path.with_name(f"{path.name}-wal")
        with Store.open(path) as store:
            store.save_measurement(samples.info().id(), samples.measurement(samples.operator(77)))
            left = log.read_bytes()
        path.unlink()
        log.write_bytes(left)
        path.with_name(f"{path.name}-shm").touch()
        assert restore(tmp_path / "copy", path) is None
        assert entries(path) == 1
        (kept,) = tmp_path.glob("*.before-restore-*-wal")
        assert kept.read_bytes() == left

    def test_a_damaged_copy_changes_nothing(self, path: Path, tmp_path: Path) -> None:
        backup(path, tmp_path / "copy")
        damage(tmp_path / "copy")
        with pytest.raises(DatabaseError, match="copy: it is damaged"):
            restore(tmp_path / "copy", path)
        assert entries(path) == 1

    def test_is_refused_while_a_service_uses_the_database(self, path: Path, tmp_path: Path) -> None:
        backup(path, tmp_path / "copy")
        with sole_use(path), pytest.raises(ServiceStartError, match="another service uses the database"):
            restore(tmp_path / "copy", path)


class TestSoleUse:
    def test_ends_with_its_process(self, path: Path) -> None:
        script = """
            import sys, time
            from pathlib import Path
            from profiler_service.storage.upkeep import sole_use
            with sole_use(Path(sys.argv[1])):
                print("held", flush=True)
                time.sleep(600)
        """
        command = [sys.executable, "-c", textwrap.dedent(script), str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            with pytest.raises(ServiceStartError) as caught, sole_use(path):
                pass
            assert "--database" in caught.value.hint
            process.kill()
        with sole_use(path), Store.open(path) as store:  # others may still read and write
            store.check()
            assert entries(path) == 1

    def test_may_come_before_the_database(self, tmp_path: Path) -> None:
        with sole_use(tmp_path / "new.sqlite"), Store.open(tmp_path / "new.sqlite") as store:
            assert store.tables() == []


def test_a_damaged_database_is_not_sound(path: Path) -> None:
    require_sound(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    damage(path)
    with pytest.raises(DatabaseError, match="damaged"):
        require_sound(path)


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ((3, 6, 23), False),
        ((3, 7, 0), True),
        ((3, 40, 1), True),
        ((3, 44, 5), True),
        ((3, 44, 6), False),
        ((3, 45, 0), True),
        ((3, 50, 7), False),
        ((3, 51, 2), True),
        ((3, 51, 3), False),
        ((3, 53, 0), False),
    ],
)
def test_releases_with_the_wal_reset_bug(version: tuple[int, int, int], expected: bool) -> None:
    assert has_wal_reset_bug(version) is expected


def test_file_systems_are_those_of_the_nearest_mount(tmp_path: Path) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
        "23 22 0:40 / /data rw,relatime shared:1 - nfs4 server:/data rw\n"
        "24 23 8:2 / /data/my\\040disk rw - ext4 /dev/sdb1 rw\n"
    )
    assert network_file_system(Path("/data/opclock.sqlite"), mounts) == "nfs4"
    assert network_file_system(Path("/data/my disk/opclock.sqlite"), mounts) is None
    assert network_file_system(Path("/home/opclock.sqlite"), mounts) is None
    assert network_file_system(Path("/data/opclock.sqlite"), tmp_path / "absent") is None


def test_warnings_name_the_file_system_and_the_release(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert warnings(path, (3, 51, 3)) == []
    (bug,) = warnings(path, (3, 40, 1))
    assert "SQLite 3.40.1" in bug
    monkeypatch.setattr("profiler_service.storage.upkeep.network_file_system", lambda path: "nfs4")
    (network,) = warnings(path, (3, 51, 3))
    assert "(nfs4)" in network
    assert os.fspath(path) in network
