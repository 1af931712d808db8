"""Versions of runtimes, as far as their order counts."""

from __future__ import annotations

import re

from profiler_service.errors import BackendUnavailableError


def require_version(title: str, found: str, oldest: tuple[int, ...], hint: str) -> None:
    """Raises BackendUnavailableError for a runtime that is older than its oldest supported version."""
    if numbers(found) < oldest:
        least = ".".join(map(str, oldest))
        raise BackendUnavailableError(f"{title} {found} is not supported: {least} is the oldest that is", hint=hint)


def numbers(version: str) -> tuple[int, ...]:
    """The leading numbers of a version: (2, 13, 0) of `2.13.0+cu130`."""
    leading = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(map(int, leading.group().split("."))) if leading else ()
