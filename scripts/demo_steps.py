"""What the demos share: a service that runs meanwhile, and the client's commands."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from models.spec.errors import ExitCode

BIN = Path(sys.executable).parent
CONSOLE = Console(highlight=False)


@contextmanager
def service(output: Path) -> Iterator[str]:
    """The address of a service on a free loopback port, its database in `output`; it ends with the context."""
    process, url = _start_service(output)
    try:
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)


def _start_service(output: Path) -> tuple[subprocess.Popen[bytes], str]:
    """A service on a free loopback port, its database in `output`; returns once it answers."""
    step("starting profiler-service")
    url_file = output / "service-url"
    url_file.unlink(missing_ok=True)
    with (output / "service.log").open("ab") as log:
        service = subprocess.Popen(
            [BIN / "profiler-service", "serve", "--port", "0", "--database", output / "opclock.sqlite", "--url-file", url_file],
            stdout=log,
            stderr=log,
        )
    while not url_file.exists():
        if service.poll() is not None:
            sys.exit(f"the service ended with {service.returncode}; see {output / 'service.log'}")
        time.sleep(0.1)
    return service, url_file.read_text().strip()


def client(*arguments: object) -> Any:
    """One `nas-client` command with its progress on this terminal; its JSON document. Ends the demo where it fails, but not
    where some workloads failed: everything else was measured. On Ctrl-C it waits until the command has saved itself.

    With one thread, unless the environment says otherwise: these networks are small, and where other programs use the cores,
    threads that wait for each other take many times as long as one.
    """
    command = [str(BIN / "nas-client"), *map(str, arguments), "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env={"OMP_NUM_THREADS": "1"} | os.environ) as process:
        try:
            document, _ = process.communicate()
        except KeyboardInterrupt:  # which the command got, too
            process.wait()
            raise SystemExit(128 + signal.SIGINT) from None
    if process.returncode not in (ExitCode.DONE, ExitCode.WORKLOADS_FAILED):
        CONSOLE.print(f"[bold red]failed[/] ({process.returncode}): {' '.join(command)}")
        sys.exit(process.returncode)
    return json.loads(document)


def step(text: str) -> None:
    """Say what comes next."""
    CONSOLE.print(f"[bold cyan]▶[/] {text}")
