"""A disk that gets full while a file is written."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partialmethod
from pathlib import Path
from typing import Any

import pytest


@contextmanager
def full_disk(name: str) -> Iterator[None]:
    """Within it, `Path` cannot write files that have `name` in their names. They are cut to nothing first, as on a real one."""

    def write(path: Path, *arguments: Any, usually: Any, **options: Any) -> int:
        if name not in path.name:
            return int(usually(path, *arguments, **options))
        path.open("w").close()
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    with pytest.MonkeyPatch.context() as patch:
        for method in ("write_text", "write_bytes"):
            patch.setattr(Path, method, partialmethod(write, usually=getattr(Path, method)))
        yield
