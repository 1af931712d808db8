"""What holds for all tests."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from profiler_service.backends.backend_options import ENVIRONMENT_PREFIX
from tests.support.in_force import OptionsInForce, options_of

if TYPE_CHECKING:
    from tests.support.postgres import Server

settings.register_profile("opclock", deadline=None)  # a shared machine is slow now and then; that is no failure
settings.load_profile("opclock")

_FOR_ALL_TESTS = "OPCLOCK_REFERENCE"


def pytest_addoption(parser: pytest.Parser) -> None:
    """How long the tests in tests/fault take."""
    parser.addoption("--fault-length", choices=("short", "full"), default="short", help="length of the fault suite")


@pytest.fixture(scope="session", autouse=True)
def settings_set_aside() -> Iterator[dict[str, str]]:
    """The environment's settings, which no test sees: what it finds does not depend on who runs it.

    Tests on real backends and devices ask for `options_in_force`.
    """
    aside = {name: value for name, value in os.environ.items() if name.upper().startswith(ENVIRONMENT_PREFIX)}
    aside.pop(_FOR_ALL_TESTS, None)
    with pytest.MonkeyPatch.context() as patch:
        for name in aside:
            patch.delenv(name)
        yield aside


@pytest.fixture(scope="session")
def options_in_force(settings_set_aside: dict[str, str]) -> OptionsInForce:
    """What those settings say of a backend, or of a device."""
    return partial(options_of, settings_set_aside)


@pytest.fixture(autouse=True, scope="module")
def denormals_stay() -> Iterator[None]:
    """Backends on the CPU flush denormals in their own process; a module that runs one here must not leave that to
    the next."""
    yield
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_flush_denormal(False)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A PostgreSQL server for all tests that ask for one; they are skipped where its programs are missing."""
    from tests.support.postgres import running_server

    with running_server() as server:
        yield server
