"""docs/quickstart.md, done as it says: its commands and its script, in order, in an empty folder."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.repository import ROOT

PAGE = ROOT / "docs" / "quickstart.md"
INSTALLING = ("python3 -m venv", "source ", "pip ")


def steps() -> list[str]:
    """Its shell commands, and its script as the page names the file."""
    found = []
    for language, block in re.findall(r"^```(sh|python)\n(.*?)^```", PAGE.read_text(), flags=re.MULTILINE | re.DOTALL):
        found += [block] if language == "python" else [line for line in block.splitlines() if not line.startswith(INSTALLING)]
    return found


@pytest.mark.slow
def test_every_step_works(tmp_path: Path) -> None:
    (tmp_path / "lut_data").mkdir()
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    environment["PYTHONPATH"] = str(ROOT)

    def run(words: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240)

    table = ""
    for step in steps():
        if step.startswith("import "):
            (tmp_path / "logits.py").write_text(step)
            continue
        words = shlex.split(step, comments=True)
        ended = run([table if word == "ID" else word for word in words])
        assert ended.returncode in ((0, 3) if words[1] == "doctor" else (0,)), f"{step}\n{ended.stdout}\n{ended.stderr}"
        if words[1] == "tables":
            (listed,) = json.loads(run(["profiler-service", "tables", "--json"]).stdout)["tables"]
            table = listed["id"]
    assert table, "the page lists no tables"
    assert (tmp_path / "table.parquet").exists()
    assert (tmp_path / "student.json").exists()
