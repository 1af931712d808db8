"""Files that are complete at every moment: readers see the earlier content or the new one, never a part."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path to write to. Its file replaces the one at `path` when the block ends without an error.

    The temporary file lies in the same folder. It is deleted if the block raises. A symbolic link stays and its target is
    replaced. A device or a pipe cannot be replaced: the path is then `path` itself.

    Raises:
        OSError: the file cannot be written or replaced.
    """
    if path.exists() and not path.is_file():
        yield path
        return
    target = path.resolve()
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        yield part
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
