"""Files from elsewhere, small ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from profiler_service.foreign.sources import SourceFile, read_source

Written = Callable[[str | bytes], SourceFile]


@pytest.fixture
def written(tmp_path: Path) -> Written:
    """Writes a file and reads it back; text is written as UTF-8."""

    def write(content: str | bytes) -> SourceFile:
        path = tmp_path / "table"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_source(path, 2**20)

    return write
