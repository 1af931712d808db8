"""The release of this service."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"


@cache
def service_version() -> str:
    """Version of the installed distribution; in a checkout that is not installed, version in pyproject.toml."""
    try:
        return version("opclock")
    except PackageNotFoundError:
        return _checkout_version()


def _checkout_version() -> str:
    """The version in pyproject.toml; `unknown` without that file. No measurement depends on it."""
    try:
        return str(tomllib.loads(_PROJECT.read_text(encoding="utf-8"))["project"]["version"])
    except OSError:
        return "unknown"
