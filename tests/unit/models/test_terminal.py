"""What reaches the terminal, whoever wrote it."""

from __future__ import annotations

import io
import json

import pytest
from rich.table import Table as Grid

from models.safe_text import bare_address, safe_text
from models.spec.errors import InvalidSpecError
from models.terminal import SafeConsole, emit, job_progress, people, run

HOSTILE = "a\x1b[2Jb\x1b]0;owned\x07c\x9b31md\u202ee\rf\ud800g http://me:hidden@box:1/"
SEQUENCES = ["\x1b", "\x07", "\x9b", "\u202e", "\r", "\ud800", "hidden"]


def shown(console: SafeConsole) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_no_text_steers_the_terminal() -> None:
    console = SafeConsole(file=io.StringIO(), highlight=False, soft_wrap=True, markup=False, width=200)
    grid = Grid("a", HOSTILE)
    grid.add_row("[link=http://x]z[/link]", HOSTILE)
    console.print(HOSTILE)
    console.print(HOSTILE, style="red", markup=False)
    console.print(grid)
    assert not [sequence for sequence in SEQUENCES if sequence in shown(console)]
    assert "[link=http://x]z[/link]" in shown(console)
    assert shown(console).count("http://…@box:1/") == 4


def test_styles_and_line_ends_stay() -> None:
    console = SafeConsole(file=io.StringIO(), force_terminal=True, color_system="standard", markup=False)
    console.print("one\ntwo\tthree", style="red")
    assert "\x1b[31m" in shown(console)
    assert "one" in shown(console).splitlines()[0]


def test_every_console_of_a_command_is_safe(capsys: pytest.CaptureFixture[str]) -> None:
    people().print(HOSTILE)
    emit({}, as_json=False, text=lambda console: console.print(HOSTILE))
    emit({"message": HOSTILE.replace("\ud800", "")}, as_json=True, text=lambda console: None)
    with job_progress(HOSTILE):
        pass
    captured = capsys.readouterr()
    for text in (captured.err, captured.out):
        assert not [sequence for sequence in SEQUENCES[:-1] if sequence in text]


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_errors_are_safe(flags: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["command", *flags])

    def fails() -> None:
        raise InvalidSpecError(HOSTILE, hint=HOSTILE)

    with pytest.raises(SystemExit):
        run(fails)  # type: ignore[arg-type]
    captured = capsys.readouterr()
    told = " ".join(json.loads(captured.out)["error"].values()) if flags else ""
    assert not [sequence for sequence in SEQUENCES if sequence in captured.err + captured.out + told]
    assert captured.err.count("http://…@box:1/") == 2


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("plain, with ü, 字 and 😀\n\ttabs", "plain, with ü, 字 and 😀\n\ttabs"),
        ("postgresql://me:p/w@db:5432/x", "postgresql://…@db:5432/x"),
        ("mail me@box.org about http://box/x", "mail me@box.org about http://box/x"),
        ("(http://u:p@a:1) and http://u:q@b:2", "(http://…@a:1) and http://…@b:2"),
    ],
)
def test_what_is_harmless_stays(text: str, safe: str) -> None:
    assert safe_text(text) == safe


@pytest.mark.parametrize(
    ("address", "bare"),
    [
        ("http://box:1/v1", "http://box:1/v1"),
        ("http://me:a?b#c@d@box:1/x?token=y#z", "http://…@box:1/x"),
        ("me:pw@box:1", "…@box:1"),
        ("", ""),
    ],
)
def test_addresses_without_secrets(address: str, bare: str) -> None:
    assert bare_address(address) == bare
