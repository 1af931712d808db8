"""Tests that are skipped: what is missing, or refused, and how to run them."""

from __future__ import annotations

import pytest

from models.spec.errors import InvalidSpecError
from profiler_service.backends.backend_options import BackendOptions
from profiler_service.backends.base import Backend
from profiler_service.backends.registry import create_backend
from profiler_service.errors import BackendUnavailableError

ON_A_GPU = "on a box with an NVIDIA GPU: pytest -m gpu"


def why_skipped(error: BackendUnavailableError, *, gpu: bool) -> str:
    """The reason, for a backend or a device that is not to be had."""
    return f"{error.message}: {error.hint}" + (f" Then, {ON_A_GPU}" if gpu else "")


def create_or_skip(name: str, options: BackendOptions, *, usual: BackendOptions) -> Backend:
    """That backend. Skips the test where its runtime is missing, and where it refuses options other than the usual ones."""
    try:
        return create_backend(name, options)
    except BackendUnavailableError as error:
        pytest.skip(why_skipped(error, gpu=options.device == "cuda"))
    except InvalidSpecError as error:
        if options == usual:
            raise
        pytest.skip(f"{error.message}, which the settings of the environment ask for: {error.hint}")
