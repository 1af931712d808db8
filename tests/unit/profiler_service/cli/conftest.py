"""Commands, run in this process as the console script runs them."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from profiler_service.cli.main import main
from tests.support.ended import Command, Ended
from tests.support.paper_runner import failing

__all__ = ["failing"]


@pytest.fixture
def logs_as_before() -> Iterator[None]:
    """Commands set up the logs of their process, which here is everybody's."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, logs_as_before: None
) -> Command:
    """Runs `profiler-service` with the arguments given, on a database in `tmp_path` and in that directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPCLOCK_DATABASE", str(tmp_path / "opclock.sqlite"))
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: object) -> Ended:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["profiler-service", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        written = capsys.readouterr()
        return Ended(int(ended.value.code or 0), written.out, written.err)

    return run
