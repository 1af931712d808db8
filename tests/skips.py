"""Reasons for which a test is skipped: what is missing, and how to run it."""

from __future__ import annotations

from profiler_service.errors import BackendUnavailableError

ON_A_GPU = "on a box with an NVIDIA GPU: pytest -m gpu"


def why_skipped(error: BackendUnavailableError, *, gpu: bool) -> str:
    """The reason, for a backend or a device that is not to be had."""
    return f"{error.message}: {error.hint}" + (f" Then, {ON_A_GPU}" if gpu else "")
