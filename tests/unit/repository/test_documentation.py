"""Every page, picture, command and option that the documentation or the code points to is there."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from models.spaces.registry import space_class, space_names
from nas_client.cli.decode_options import own_fields
from nas_client.cli.main import app as client_app
from profiler_service.backends.registry import backend_names, device_kinds
from profiler_service.cli.commands import app as service_app
from tests.support.repository import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "lut_data").glob("*.md"), *(ROOT / "docs").rglob("*.md")])
PACKAGES = ("models", "profiler_service", "nas_client", "scripts")
APPS = {"profiler-service": service_app, "nas-client": client_app}


def page_id(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_relative_links_lead_somewhere(page: Path) -> None:
    targets = [target for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()) if "://" not in target]
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_pages_named_in_code_exist() -> None:
    sources = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    named = {page for path in sources for page in re.findall(r"docs/[\w/-]+\.md", path.read_text())}
    assert named, "the search found nothing at all"
    assert [page for page in sorted(named) if not (ROOT / page).exists()] == []


def test_every_built_in_backend_has_its_line_on_the_page_of_backends() -> None:
    page = (ROOT / "docs" / "reference" / "backends.md").read_text()
    for name in backend_names():
        for kind in device_kinds(name):
            assert f"\n| `{name}` | `{kind}` |" in page, f"docs/reference/backends.md lacks {name} on {kind}"


@pytest.mark.slow
def test_the_site_is_whole_and_asks_no_other_host(tmp_path: Path) -> None:
    """As `make docs` builds it: no broken link, no page left out, and nothing that a browser would load elsewhere."""
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    built = subprocess.run(words, cwd=ROOT, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    pages = {path.relative_to(tmp_path): path.read_text() for path in tmp_path.rglob("*.html")}
    assert {Path("quickstart.html"), Path("reference", "http.html")} <= set(pages), "pages are files, not folders"
    script = r'<(?:script|img|iframe)[^>]*\ssrc="?(?:https?:)?//[^ >]+'
    link = r'<link[^>]*rel="?(?:stylesheet|preconnect|icon)[^>]*//[^ >]+'
    assert {str(path): found for path, text in pages.items() if (found := re.findall(f"{script}|{link}", text))} == {}
    assert [path for path, text in pages.items() if "iframe-worker-shim.js" not in text] == [], "search in a folder needs it"


def commands(text: str) -> Iterator[list[str]]:
    """The words of each command of ours in a page's code blocks, without the environment before it."""
    for language, block in re.findall(r"^```(\w*)\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL):
        if language not in ("", "sh"):
            continue
        for line in block.replace("\\\n", " ").splitlines():
            code = line.partition(" #")[0]
            words = shlex.split(code) if any(name in code for name in APPS) else []
            for name in APPS:
                if name in words:
                    yield words[words.index(name) :]


def resolve(words: list[str]) -> tuple[Any, list[str]]:
    """The command that these words name, and the words after its name."""
    command: Any = typer.main.get_command(APPS[words[0]])
    rest = words[1:]
    while getattr(command, "commands", None) and rest:
        assert rest[0] in command.commands, f"{' '.join(words[:3])}: no such command"
        command, rest = command.commands[rest[0]], rest[1:]
    return command, rest


WITH_COMMANDS = [page for page in PAGES if page.name != "CHANGELOG.md" and any(commands(page.read_text()))]


OWN_OPTIONS = {
    f"--{name.replace('_', '-')}" for space in space_names() for name in own_fields(space_class(space).decode_options)
}
"""Those that commands take for a search space's decoding."""


@pytest.mark.parametrize("page", WITH_COMMANDS, ids=page_id)
def test_every_command_and_option_of_a_page_exists(page: Path) -> None:
    for words in commands(page.read_text()):
        command, rest = resolve(words)
        known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        if command.context_settings.get("ignore_unknown_options"):
            known |= OWN_OPTIONS
        given = {word.strip("[]").partition("=")[0] for word in rest if re.match(r"\[?--?[a-z]", word)}
        assert given <= known | {"--help"}, f"{' '.join(words)}: {sorted(given - known)}"
        if not any("[" in word or "…" in word for word in words):
            required = {parameter.opts[0]: parameter.opts for parameter in command.params if parameter.required}
            options = {name for name, spelt in required.items() if name.startswith("-") and not given & set(spelt)}
            spelt_by_environment = {parameter.opts[0] for parameter in command.params if parameter.envvar}
            assert options <= spelt_by_environment, f"{' '.join(words)}: lacks {sorted(options)}"


def test_pages_with_commands_are_found() -> None:
    assert {"README.md", "docs/quickstart.md", "docs/own-table.md"} <= set(map(page_id, WITH_COMMANDS))
