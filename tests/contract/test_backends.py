"""The suite of what every backend must do, on each of our own on each kind of device, under the settings of the environment.

A backend whose runtime is not installed, or which refuses these settings, is skipped.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from profiler_service.backends.backend_options import AllOptions
from profiler_service.backends.base import Backend
from profiler_service.backends.registry import BACKENDS, device_kinds
from profiler_service.testing import BackendSuite
from tests.support.in_force import OptionsInForce
from tests.support.skips import create_or_skip


def _on_each_device() -> list[Any]:
    """Every built-in backend, by name and kind of device."""
    choices = [(name, kind) for name in BACKENDS.own_names() for kind in device_kinds(name)]
    return [pytest.param((name, kind), id=f"{name}-{kind}", marks=_marks(name, kind)) for name, kind in choices]


def _marks(name: str, kind: str) -> list[pytest.MarkDecorator]:
    """Inductor compiles for a second or two where others build in milliseconds."""
    return [mark for mark, wanted in ((pytest.mark.gpu, kind == "cuda"), (pytest.mark.slow, name == "inductor")) if wanted]


class TestEachBackend(BackendSuite):
    @pytest.fixture(params=_on_each_device(), scope="class")
    @classmethod
    def backend(cls, request: pytest.FixtureRequest, options_in_force: OptionsInForce) -> Iterator[Backend]:
        name, kind = request.param
        with closing(create_or_skip(name, options_in_force(kind), usual=AllOptions(device=kind))) as backend:
            yield backend
