"""Which release this is."""

from __future__ import annotations

from functools import cache
from importlib.metadata import version


@cache
def service_version() -> str:
    """The installed distribution's version."""
    return version("opclock")
