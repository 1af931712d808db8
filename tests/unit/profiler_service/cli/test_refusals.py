"""What `serve` and `profile` refuse: one clear sentence, the next step, and an exit code."""

from __future__ import annotations

import os
import socket
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from models.spec.table_files import TableFormat, write_table
from profiler_service.storage.store import Store
from tests.unit.profiler_service.cli.conftest import Command
from tests.unit.profiler_service.cli.test_exchange import TABLE

NOBODY = 65_534
PROFILE = ("profile", "--space", "fasterseg", "--input-size", "128x256")


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (("--space", "fastseg"), "unknown search space 'fastseg'", "Did you mean 'fasterseg'?"),
        (("--input-size", "100x256"), "height 100 is not divisible by 8", "96"),
        (("--input-size", "big"), "input size 'big' is not HEIGHTxWIDTH", "128x256"),
        (("--input-size", "0x256"), "input_size", ""),
        (("--input-size", "16384x16384"), "the limit is", ""),
        (("--input-size", "99999x256"), "input_size", ""),
        (("--classes", "0"), "classes", ""),
        (("--classes", "-1"), "classes", ""),
        (("--batch", "100000"), "batch", ""),
        (("--dtype", "float8"), "dtype", ""),
        (("--parameter", "base_channels=0"), "base_channels", ""),
        (("--parameter", "base_channels=-4"), "base_channels", ""),
        (("--parameter", "base_channels=1000000000"), "base_channels", ""),
        (("--parameter", "base_chanels=8"), "'base_chanels'", "Did you mean 'base_channels'?"),
        (("--parameter", "layers"), "parameter 'layers' is not NAME=NUMBER", "layers=8"),
        (("--parameter", "layers=many"), "parameter 'layers=many' is not NAME=NUMBER", "layers=8"),
        (("--backend", "onxruntime"), "unknown backend 'onxruntime'", "Did you mean 'onnxruntime'?"),
        (("--threads", "256"), "256 cores cannot be had", "fewer threads"),
        (("--core", "4000"), "core 4000", "another core"),
    ],
)
def test_a_profile_of_what_cannot_be(command: Command, arguments: tuple[str, ...], message: str, hint: str) -> None:
    ended = command(*PROFILE, *arguments)

    assert ended.code == 3, ended.err
    assert ended.out == ""
    assert message in ended.err
    assert hint in ended.err


def test_a_dtype_that_the_backend_does_not_measure(command: Command, tmp_path: Path) -> None:
    ended = command(*PROFILE, "--dtype", "float16", "--backend", "onnxruntime", "--json")

    assert ended.code == 3
    assert ended.document["error"]["code"] == "invalid_spec"
    assert "dtype 'float16' cannot be measured by backend 'onnxruntime'" in ended.document["error"]["message"]
    with Store.open(tmp_path / "opclock.sqlite") as store:
        assert store.jobs() == []
        assert store.tables() == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("profile", "--input-size", "128x256"),
        (*PROFILE, "--budget", "endless"),
        (*PROFILE, "--protocol", "hot"),
        (*PROFILE, "--threads", "0"),
        ("serve", "--port", "70000"),
        ("serve", "--prot", "8000"),
        ("frobnicate",),
    ],
)
def test_usage(command: Command, arguments: tuple[str, ...]) -> None:
    ended = command(*arguments)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err


def test_a_setting_in_the_environment_that_cannot_be(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPCLOCK_PORT", "http")
    ended = command("serve", "--json")
    assert (ended.code, ended.document["error"]["code"]) == (3, "invalid_spec")
    assert "Settings.port" in ended.err


def test_a_port_in_use(command: Command, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        ended = command("serve", "--port", port)

    assert ended.code == 3
    assert f"127.0.0.1 port {port} is in use" in ended.err
    assert "--port" in ended.err
    assert not (tmp_path / "opclock.sqlite").exists()


def test_an_address_of_another_machine(command: Command) -> None:
    ended = command("serve", "--host", "203.0.113.1", "--port", 0)
    assert ended.code == 3
    assert "203.0.113.1" in ended.err


def test_an_unknown_backend_is_not_replaced_by_another(command: Command) -> None:
    ended = command("serve", "--port", 0, "--backend", "openvino-x")
    assert ended.code == 3
    assert "unknown backend 'openvino-x'" in ended.err
    assert "onnxruntime" in ended.err


ON_A_DATABASE = [
    ("serve", "--port", "0"),
    (*PROFILE, "--budget", "quick"),
    ("tables",),
    ("export", "--table", "x", "--format", "csv"),
    ("import", "given.json"),
]


@pytest.mark.parametrize("arguments", ON_A_DATABASE, ids=lambda arguments: arguments[0])
def test_a_database_of_a_later_release(command: Command, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    write_table(TABLE, tmp_path / "given.json", TableFormat.JSON)
    path = tmp_path / "opclock.sqlite"
    Store.open(path).close()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    before = path.read_bytes()

    ended = command(*arguments)

    assert ended.code == 3
    assert "9999" in ended.err
    assert "newer" in ended.err
    assert path.read_bytes() == before


@pytest.mark.parametrize("arguments", ON_A_DATABASE, ids=lambda arguments: arguments[0])
def test_a_file_that_is_no_database(command: Command, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    write_table(TABLE, tmp_path / "given.json", TableFormat.JSON)
    path = tmp_path / "opclock.sqlite"
    path.write_bytes(b"no database at all" * 50)

    ended = command(*arguments)

    assert ended.code == 3
    assert "not an SQLite database" in ended.err
    assert path.read_bytes() == b"no database at all" * 50


@contextmanager
def bound_by_permissions() -> Iterator[None]:
    """As a user to whom a read-only file is read-only."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


@pytest.fixture
def readable_folder() -> Iterator[Path]:
    """A folder that other users may enter; pytest's own are closed to them."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.mark.parametrize("arguments", [ON_A_DATABASE[0], ON_A_DATABASE[1]], ids=lambda arguments: arguments[0])
@pytest.mark.parametrize("exists", [True, False], ids=["file", "folder"])
def test_a_database_that_may_not_be_written(
    command: Command, monkeypatch: pytest.MonkeyPatch, readable_folder: Path, arguments: tuple[str, ...], exists: bool
) -> None:
    path = readable_folder / "opclock.sqlite"
    if exists:
        Store.open(path).close()
        path.chmod(0o444)
    readable_folder.chmod(0o555)
    monkeypatch.chdir(readable_folder)

    with bound_by_permissions():
        ended = command(*arguments, "--database", path)

    readable_folder.chmod(0o755)
    assert ended.code == 3
    assert str(path) in ended.err
    assert "--database" in ended.err or "rights" in ended.err or "write" in ended.err
    assert path.exists() is exists


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", disk], check=False, capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a small file system needs root, on Linux; tests of the store fill SQLite's own limit instead")
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_a_full_disk(command: Command, full_disk: Path, tmp_path: Path) -> None:
    write_table(TABLE, tmp_path / "given.json", TableFormat.JSON)
    for arguments in (("import", "given.json"), ON_A_DATABASE[0]):
        ended = command(*arguments, "--database", full_disk / "opclock.sqlite", "--json")
        assert (ended.code, ended.document["error"]["code"]) == (3, "storage")
        assert "the disk is full" in ended.err
        assert "Free some space" in ended.err


def test_an_export_to_a_full_disk(command: Command, full_disk: Path, tmp_path: Path) -> None:
    write_table(TABLE, tmp_path / "given.json", TableFormat.JSON)
    table_id = command("import", "given.json", "--json").document["table_id"]
    (full_disk / "other").write_bytes(b"x" * 12_288)

    ended = command("export", "--table", table_id, "--format", "parquet", "-o", full_disk / "t.parquet")

    assert ended.code == 3
    assert "No space left" in ended.err
    assert not (full_disk / "t.parquet").exists()
