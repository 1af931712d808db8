"""A PostgreSQL server for the tests, started once from the distribution's programs, with a socket in a directory of its own."""

from __future__ import annotations

import getpass
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import psycopg
import pytest

from profiler_service.storage.location import PostgresUrl
from profiler_service.storage.schema import Base
from profiler_service.storage.store import Store

HOW = "PostgreSQL's programs are not here; install them (Debian, Ubuntu: apt-get install postgresql)"
ROLE = "opclock"
PATIENCE_S = 60.0


def programs() -> Path | None:
    """The directory of `initdb` and `postgres`; None where there is none."""
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).resolve().parent
    candidates = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    return candidates[-1].parent if candidates else None


def programs_or_skip() -> Path:
    found = programs()
    if found is None:
        pytest.skip(HOW)
    return found


@dataclass
class Server:
    """A running server. Its role `opclock` may make databases and is no superuser."""

    folder: Path
    programs: Path
    process: subprocess.Popen[bytes] | None = None
    names: Iterator[int] = field(default_factory=count)
    _shared: PostgresUrl | None = None

    def url(self, name: str, *, user: str = ROLE, password: str = "", options: str = "") -> PostgresUrl:
        secret = f":{password}" if password else ""
        return PostgresUrl(f"postgresql://{user}{secret}@/{name}?host={self.folder}{options}")

    def execute(self, statement: str, name: str = "postgres", user: str = ROLE) -> list[tuple[object, ...]]:
        """Outside a transaction; its rows."""
        with psycopg.connect(self.url(name, user=user).secret(), autocommit=True) as connection:
            cursor = connection.execute(statement)  # type: ignore[call-overload]
            return cursor.fetchall() if cursor.description else []

    def new_database(self, template: str = "template0") -> PostgresUrl:
        name = f"test_{next(self.names)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return self.url(name)

    def emptied_database(self) -> PostgresUrl:
        """One that tests share one after another, which is cheaper than a new one: with our tables, and nothing in them."""
        if self._shared is None:
            self._shared = self.new_database()
            Store.open(self._shared).close()
        tables = ", ".join(table for table in Base.metadata.tables)
        self.execute(f"TRUNCATE {tables} RESTART IDENTITY", self._shared.name)
        return self._shared

    def start(self) -> None:
        command = [self.programs / "postgres", "-D", self.folder / "data", "-k", self.folder, "-F", "-c", "listen_addresses="]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, user=_owner(), cwd=self.folder)
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                psycopg.connect(self.url("postgres", user="postgres").secret()).close()
            except psycopg.OperationalError:
                assert time.monotonic() < deadline, (self.folder / "log").read_text()
                time.sleep(0.05)
            else:
                return

    def stop(self) -> None:
        """At once, as a crash would; connections are ended."""
        if self.process is not None:
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait(PATIENCE_S)
            self.process = None


@contextmanager
def running_server() -> Iterator[Server]:
    """A new server, which ends with the block. Skips the test where its programs are missing."""
    found = programs_or_skip()
    folder = Path(tempfile.mkdtemp(prefix="opclock-pg-", dir="/tmp"))  # a socket's name may have 107 bytes
    try:
        if (owner := _owner()) is not None:
            shutil.chown(folder, owner)
        initdb = [found / "initdb", "-D", folder / "data", "-U", "postgres", "--auth=trust", "--no-sync", "--encoding=UTF8"]
        subprocess.run([*initdb, "--locale=C.UTF-8"], check=True, capture_output=True, user=owner, cwd=folder)
        server = Server(folder, found)
        server.start()
        try:
            server.execute(f"CREATE ROLE {ROLE} LOGIN CREATEDB", user="postgres")
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _owner() -> str | None:
    """Whom the server runs as, which refuses root; None for the present user."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return next(name for name in ("postgres", "nobody", getpass.getuser()) if name in names)
