"""docs/other-tables.md, done as it says: its files and its commands, in order, in an empty folder."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from profiler_service.foreign.csv_columns import SPELLINGS, normalised
from tests.support.ended import Command, Ended
from tests.support.repository import ROOT

PAGE = (ROOT / "docs" / "other-tables.md").read_text(encoding="utf-8")


def test_the_page_runs(command: Command) -> None:
    for name, content in re.findall(r"`([\w.]+)`[^`\n]*:\n\n```text\n(.*?)```", PAGE, re.S):
        Path(name).write_text(content, encoding="utf-8")
    lines = [line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.S) for line in block.splitlines()]
    ended: dict[str, Ended] = {}
    for line in lines:
        words = shlex.split(line, comments=True)
        assert words[0] == "profiler-service"
        ended[line] = command(*words[1:])
        assert ended[line].code == 0, ended[line].err
    out = "".join(one.out for one in ended.values())
    assert "3 entries of fasterseg 128×256" in out
    assert "mystery" in out
    assert "unsettled" in out
    assert "Kendall" in out
    assert Path("a.csv").read_text().startswith("key,type,ms")


def test_the_page_has_every_name_of_a_column() -> None:
    named = {normalised(name) for name in re.findall(r"`([^`\n]+)`", PAGE)}
    plain = {name for names in SPELLINGS.values() for name in names}
    bare = {name.removesuffix("_ms") for name in plain - named}
    assert bare <= named
