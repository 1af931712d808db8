"""Where the tests find the data published with the papers; it is not part of this repository."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_DEFAULT = Path(__file__).resolve().parents[3] / "shared" / "reference"


def reference_file(name: str) -> Path:
    """The published file of that name, such as `fasterseg/student.json`; skips the test where it is absent."""
    path = Path(os.environ.get("OPCLOCK_REFERENCE", _DEFAULT)) / name
    if not path.is_file():
        pytest.skip(f"no published data at {path}; set OPCLOCK_REFERENCE to the folder that holds {name}")
    return path
