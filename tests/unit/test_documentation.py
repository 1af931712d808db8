"""Every page, picture, command and option that the documentation or the code points to is there."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from nas_client.cli.main import app as client_app
from profiler_service.cli.commands import app as service_app

ROOT = Path(__file__).resolve().parents[2]
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


def test_nothing_of_the_site_comes_from_another_host() -> None:
    """`mkdocs build` itself asks for no network; these are what would have a reader's browser ask."""
    site = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
    assert site["theme"]["font"] is False
    assert site["use_directory_urls"] is False, "else pages opened from a folder lead to folders"
    assert any("iframe-worker" in script for script in site["extra"]["polyfills"]), "else the plugin takes it from elsewhere"
    assert [script for script in site["extra"]["polyfills"] if not (ROOT / "docs" / script).exists()] == []


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


@pytest.mark.parametrize("page", WITH_COMMANDS, ids=page_id)
def test_every_command_and_option_of_a_page_exists(page: Path) -> None:
    for words in commands(page.read_text()):
        command, rest = resolve(words)
        known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        given = {word.strip("[]").partition("=")[0] for word in rest if re.match(r"\[?--?[a-z]", word)}
        assert given <= known | {"--help"}, f"{' '.join(words)}: {sorted(given - known)}"
        if not any("[" in word or "…" in word for word in words):
            required = {parameter.opts[0]: parameter.opts for parameter in command.params if parameter.required}
            options = {name for name, spelt in required.items() if name.startswith("-") and not given & set(spelt)}
            spelt_by_environment = {parameter.opts[0] for parameter in command.params if parameter.envvar}
            assert options <= spelt_by_environment, f"{' '.join(words)}: lacks {sorted(options)}"


def test_pages_with_commands_are_found() -> None:
    assert {"README.md", "docs/quickstart.md", "docs/own-table.md"} <= set(map(page_id, WITH_COMMANDS))
