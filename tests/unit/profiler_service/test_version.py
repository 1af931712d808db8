"""Which release a checkout is that nobody has installed, as on a bare GPU box."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from profiler_service import version as module
from profiler_service.version import service_version
from tests.support.repository import ROOT


@pytest.fixture(autouse=True)
def asked_anew() -> Iterator[None]:
    service_version.cache_clear()
    yield
    service_version.cache_clear()


def _not_installed(name: str) -> str:
    raise PackageNotFoundError(name)


def test_it_is_what_the_installed_package_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "version", lambda name: f"7.8.9 of {name}")
    assert service_version() == "7.8.9 of opclock"


def test_a_checkout_that_is_not_installed_has_the_version_of_its_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "version", _not_installed)
    assert service_version() == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def test_packages_without_their_project_still_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "version", _not_installed)
    monkeypatch.setattr(module, "_PROJECT", tmp_path / "pyproject.toml")
    assert service_version() == "unknown"
