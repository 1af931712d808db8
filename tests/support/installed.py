"""Plugins installed as users do it, in an environment of their own."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.local_service import wait_until
from tests.support.repository import ROOT

SCRIPT = """#!{python}
from {package}.cli.main import main

if __name__ == "__main__":
    main()
"""


class Installed:
    """An environment with the commands, the packages of this one, and the plugin."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.environment = folder, {**os.environ, "OPCLOCK_CLIENT_CACHE_DIR": str(folder / "cache")}
        venv.create(folder / "venv", with_pip=False, symlinks=True)
        commands = folder / "venv" / "bin"
        (self.packages,) = (folder / "venv").glob("lib/python*/site-packages")
        here = [entry for entry in sys.path if Path(entry).name == "site-packages"]
        (self.packages / "others.pth").write_text("\n".join([str(ROOT), *here]))
        for name in ("profiler-service", "nas-client"):
            script = commands / name
            script.write_text(SCRIPT.format(python=commands / "python", package=name.replace("-", "_")))
            script.chmod(0o755)
        (commands / "pytest").write_text(f'#!/bin/sh\nexec {commands / "python"} -m pytest "$@"\n')
        (commands / "pytest").chmod(0o755)
        self.environment["PATH"] = f"{commands}{os.pathsep}{os.environ['PATH']}"
        self.environment.pop("PYTHONPATH", None)

    def install(self, package: Path) -> None:
        """As `pip install`, without a network."""
        options = ["--quiet", "--no-index", "--no-deps", "--no-build-isolation", "--target", str(self.packages)]
        pip = [sys.executable, "-m", "pip", "install", *options, str(package)]
        done = subprocess.run(pip, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    def run(self, *words: str, codes: tuple[int, ...] = (0,)) -> str:
        """What the command prints to stdout; its errors are the test's."""
        done = subprocess.run(
            words, cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False, timeout=280
        )
        assert done.returncode in codes, f"{shlex.join(words)}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    @contextmanager
    def serving(self, database: str) -> Iterator[str]:
        """A service over that database; its address."""
        address = self.folder / "address"
        words = ["profiler-service", "serve", "--port", "0", "--database", database, "--url-file", str(address)]
        with (self.folder / "service.log").open("wb") as log:
            process = subprocess.Popen(words, cwd=self.folder, env=self.environment, stdout=log, stderr=log)
        try:
            wait_until(address.exists)
            wait_until(lambda: bool(address.read_text()))
            yield address.read_text().strip()
        finally:
            process.terminate()
            process.wait(60)
