"""Which release this is."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"


@cache
def service_version() -> str:
    """The installed distribution's version; in a checkout that is not installed, as on a bare box, that of pyproject.toml."""
    try:
        return version("opclock")
    except PackageNotFoundError:
        return _checkout_version()


def _checkout_version() -> str:
    """`unknown` where not even the project's file is there: nothing that is measured depends on it."""
    try:
        return str(tomllib.loads(_PROJECT.read_text(encoding="utf-8"))["project"]["version"])
    except OSError:
        return "unknown"
