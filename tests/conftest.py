"""What holds for all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("opclock", deadline=None)  # a shared machine is slow now and then; that is no failure
settings.load_profile("opclock")


@pytest.fixture(scope="session")
def reference() -> Path:
    """The folder of published data to check against (`OPCLOCK_REFERENCE`); skips where there is none."""
    folder = Path(os.environ.get("OPCLOCK_REFERENCE", Path(__file__).parents[1] / ".." / "shared" / "reference"))
    if not folder.is_dir():
        pytest.skip(f"no published data at {folder.resolve()}; set OPCLOCK_REFERENCE to a folder with FasterSeg's table")
    return folder
