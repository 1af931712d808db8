"""Keeping the cache of graphs within a limit: what was used least recently goes first, and nothing that a running job needs.

Everything in the cache can be made again. Jobs of several processes may share it: each notes which graphs it needs in a file
that it keeps locked, so that the note counts for as long as its process lives.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from profiler_service.worker.graphs import GraphCache, cannot_write
from profiler_service.worker.passed_checks import SUFFIX

_SUFFIXES = frozenset({".onnx", ".npy", SUFFIX})
_NOTE, _LOCK = ".in-use-", ".prune.lock"
_STALE_S = 86_400.0
"""Age after which a file in the making is left over from a process that was killed."""


@dataclass(frozen=True)
class Pruned:
    """What pruning did.

    Attributes:
        files, freed_bytes: that were deleted.
        left_bytes: of graph files that stay.
        needed_bytes: of those, what running jobs need.
    """

    files: int
    freed_bytes: int
    left_bytes: int
    needed_bytes: int


class InUse:
    """The graphs that one job needs, until it is closed or its process dies."""

    def __init__(self, cache: GraphCache) -> None:
        self._directory = cache.directory
        self._path = cache.directory / f"{_NOTE}{os.getpid()}-{uuid.uuid4().hex[:8]}"
        with _locked(self._directory):  # before its lock is taken, a note looks like a dead process's
            try:
                self._file = self._path.open("a")
            except OSError as error:
                raise _refused(self._path, error) from error
            fcntl.flock(self._file, fcntl.LOCK_EX)

    def add(self, paths: Iterable[Path]) -> None:
        """These files are needed, whether they are there yet or not. They count as used now. Raises StorageError."""
        wanted = list(paths)
        with _locked(self._directory):
            try:
                self._file.write("".join(f"{_stem(path)}\n" for path in wanted))
                self._file.flush()
            except OSError as error:
                raise cannot_write(self._path, error) from error
            for path in wanted:
                with suppress(FileNotFoundError, PermissionError):  # another user's, perhaps
                    os.utime(path)

    def discard(self, path: Path) -> None:
        """Delete a file that this job needs no more, unless its graph is one that another job needs. Raises StorageError."""
        with _locked(self._directory):
            if _stem(path) in _needed(self._directory, besides=self._path):
                return
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise cannot_write(path, error) from error

    def close(self) -> None:
        """They are needed no more. Safe to call twice."""
        self._path.unlink(missing_ok=True)
        self._file.close()


def prune(directory: Path, limit_bytes: int) -> Pruned:
    """Delete graph files, those used least recently first, until they take no more than the limit.

    Files that running jobs need stay, even where they alone are more.

    Raises:
        StorageError: the directory may not be written.
    """
    if not directory.is_dir():
        return Pruned(0, 0, 0, 0)
    with _locked(directory):
        needed = _needed(directory)
        found = sorted(_graph_files(directory), key=lambda file: file[1].st_mtime)
        left = sum(status.st_size for _, status in found)
        kept = sum(status.st_size for path, status in found if _stem(path) in needed)
        files = freed = 0
        for path, status in found:
            if left <= limit_bytes:
                break
            if _stem(path) in needed:
                continue
            with suppress(OSError):  # another user's: it counts, and stays
                path.unlink()
                files, freed, left = files + 1, freed + status.st_size, left - status.st_size
        return Pruned(files, freed, left, kept)


def _graph_files(directory: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Of every exporter's version. Files in the making that nobody makes any more are deleted on the way."""
    for path in directory.iterdir():
        with suppress(OSError):
            status = path.stat()
            if path.name.startswith("."):
                in_the_making = Path(path.stem).suffix in _SUFFIXES
                if in_the_making and time.time() - status.st_mtime > _STALE_S:
                    path.unlink(missing_ok=True)
            elif path.suffix in _SUFFIXES and "-v" in path.stem:
                yield path, status


def _stem(path: Path) -> str:
    """What the files of a graph have in common; a report on a check names its target after it."""
    return path.name.partition(".")[0]


def _needed(directory: Path, *, besides: Path | None = None) -> frozenset[str]:
    """What the notes of living processes name, one of them left out; others are deleted."""
    needed: set[str] = set()
    for path in directory.glob(f"{_NOTE}*"):
        if path == besides:
            continue
        with suppress(OSError), path.open() as note:
            try:
                fcntl.flock(note, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                needed.update(note.read().split())
            else:
                path.unlink(missing_ok=True)
    return frozenset(needed)


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Within it, no other process deletes files or notes, and none begins to need any."""
    path = directory / _LOCK
    try:
        file = path.open("a")
    except OSError as error:
        raise _refused(path, error) from error
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _refused(path: Path, error: OSError) -> Exception:
    """Want of file descriptors passes, and is no fault of the directory."""
    return error if error.errno in (errno.EMFILE, errno.ENFILE) else cannot_write(path, error)
