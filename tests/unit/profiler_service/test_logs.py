"""Logs go to stderr, whoever writes them, in the form that was asked for."""

from __future__ import annotations

import subprocess
import sys

import pytest

WRITE = """
import logging, structlog
from profiler_service.logs import configure_logs
configure_logs({level!r}, {form!r})
structlog.get_logger("ours").info("a job ended", job="j1")
logging.getLogger("theirs").warning("low on %s", "disk")
logging.getLogger("alembic.runtime").info("context impl")
"""


def written(level: str, form: str) -> str:
    code = WRITE.format(level=level, form=form)
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout == ""
    return ended.stderr


@pytest.mark.parametrize("form", ["console", "json"])
def test_libraries_and_we_write_alike(form: str) -> None:
    lines = written("info", form).splitlines()
    assert len(lines) == 2, "what only alembic's developers want to know stays away"
    assert "a job ended" in lines[0]
    assert "j1" in lines[0]
    assert "low on disk" in lines[1]
    assert all(line.startswith("{") is (form == "json") for line in lines)


def test_less_is_written_where_less_was_asked_for() -> None:
    assert "a job ended" not in written("warning", "console")
    assert "context impl" in written("debug", "console")
