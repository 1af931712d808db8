"""What holds for all integration tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module", autouse=True)
def own_device_locks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Commands in tests do not wait for others that measure on this machine: their times are of no interest."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPCLOCK_LOCK_DIR", str(tmp_path_factory.mktemp("locks")))
        yield
