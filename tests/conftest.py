"""What holds for all tests."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
from hypothesis import settings

settings.register_profile("opclock", deadline=None)  # a shared machine is slow now and then; that is no failure
settings.load_profile("opclock")


@pytest.fixture(autouse=True, scope="module")
def denormals_stay() -> Iterator[None]:
    """Backends on the CPU flush denormals in their own process; a module that runs one here must not leave that to
    the next."""
    yield
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_flush_denormal(False)
