"""Services on loopback: an application in a thread of this process, or the command in a process of its own."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI

from profiler_service.api.connections import HANDSHAKES, server_config
from profiler_service.cli.serving import listen, url_of
from profiler_service.settings import Settings

PROFILER_SERVICE = Path(sys.executable).parent / "profiler-service"
PATIENCE_S = 60.0


@contextmanager
def running(app: FastAPI) -> Iterator[str]:
    """The application behind a real server, as the command would run it; its address."""
    settings: Settings = app.state.services.settings
    with listen("127.0.0.1", 0) as listener:
        listener.limit = settings.max_connections + HANDSHAKES
        server = uvicorn.Server(
            server_config(app, settings, settings.max_connections, graceful_s=int(settings.shutdown_timeout_s) or 1)
        )
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        wait_until(lambda: server.started)
        try:
            yield url_of(listener, "127.0.0.1")
        finally:
            server.should_exit = True
            thread.join(PATIENCE_S)
            assert not thread.is_alive()


@dataclass
class ServiceProcess:
    """`profiler-service serve` in a process of its own."""

    process: subprocess.Popen[str]
    announced: dict[str, Any]

    @property
    def url(self) -> str:
        """Its address."""
        return str(self.announced["url"])

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Tell it to end; its exit code."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_S)


@contextmanager
def serving(file: Path, *options: object, database: str = "") -> Iterator[ServiceProcess]:
    """The command, once it has announced its address; killed at the end if it still runs.

    Args:
        file: the database, beside which it logs.
        options: of the command.
        database: a URL in the file's place.
    """
    arguments = [PROFILER_SERVICE, "serve", "--port", "0", "--database", database or file, "--json", *options]
    log = file.with_suffix(".log")
    with log.open("ab") as errors:
        process = subprocess.Popen(
            [str(argument) for argument in arguments],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, log.read_text()
        yield ServiceProcess(process, json.loads(line))
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def wait_until(condition: Any, timeout_s: float = PATIENCE_S) -> None:
    """Look again and again until the condition holds; fails after a minute."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.05)
