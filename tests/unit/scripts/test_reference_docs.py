"""docs/reference says what commands, settings, exit codes and calls are, in the words of the code."""

from __future__ import annotations

from pathlib import Path

import pytest

from nas_client.settings import ClientSettings
from profiler_service.settings import Settings
from scripts import reference_docs, reference_files, reference_markup


@pytest.mark.parametrize("name", reference_docs.PAGES)
def test_a_page_is_what_the_script_writes(name: str) -> None:
    text = (reference_docs.FOLDER / name).read_text(encoding="utf-8")
    assert text == reference_docs.PAGES[name](), "write it with python -m scripts.reference_docs"


def test_pages_depend_on_no_terminal_and_no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = {name: page() for name, page in reference_docs.PAGES.items()}
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("OPCLOCK_URL", "http://elsewhere:1")
    monkeypatch.setenv("OPCLOCK_PORT", "no port")
    assert {name: page() for name, page in reference_docs.PAGES.items()} == before


def test_every_command_setting_and_call_is_there() -> None:
    commands, settings, http = (reference_docs.PAGES[name]() for name in ("commands.md", "settings.md", "http.md"))
    assert "### profiler-service diff" in commands
    assert "### nas-client experiment collapse" in commands
    assert "`--wait-for-quiet`" in commands
    names = [f"OPCLOCK_{name.upper()}" for name in Settings.model_fields]
    names += [f"OPCLOCK_CLIENT_{name.upper()}" for name in ClientSettings.model_fields]
    assert [name for name in names if f"`{name}`" not in settings] == []
    assert "### POST /v1/jobs" in http
    assert "### GET /v1/tables/{table_id}" in http


def test_only_experiments_are_described_as_experiments() -> None:
    assert reference_files.written_by("collapse")[0] == "`nas-client experiment collapse`"
    assert reference_files.written_by("attention")[1].endswith("(../mfasterseg.md#the-experiment)")
    with pytest.raises(KeyError, match="pulling"):
        reference_files.written_by("pulling")


def test_a_default_of_this_machine_has_no_place_on_a_page(tmp_path: Path) -> None:
    assert reference_markup.shown(Path("lut_data")) == "`lut_data`"
    with pytest.raises(SystemExit, match="COMPUTED"):
        reference_markup.shown(tmp_path)
