"""Graph files by key. Everything in here can be made again; files are whole or absent."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from models.export.version import EXPORTER_VERSION
from models.spec.graphs import GraphRequest
from profiler_service.backends.base import GraphArtifact
from profiler_service.errors import StorageError

LARGE_REFERENCE_BYTES = 2**20
"""References above this size, those of whole networks, are deleted once they have been compared with."""


@dataclass(frozen=True)
class GraphCache:
    """A directory of graph files. Picklable; several processes may use it at once."""

    directory: Path

    @classmethod
    def open(cls, directory: Path) -> GraphCache:
        """That directory, made if it is not there. Raises StorageError."""
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _cannot_write(directory, error) from error
        return cls(directory)

    def artifact(self, request: GraphRequest, *, reads_onnx: bool) -> GraphArtifact:
        """Where that graph's files are, or will be."""
        stem = self.directory / f"{request.key()}-v{EXPORTER_VERSION}"
        return GraphArtifact(
            request, onnx_path=stem.with_suffix(".onnx") if reads_onnx else None, reference_path=stem.with_suffix(".npy")
        )

    def write(self, path: Path, data: bytes | memoryview) -> None:
        """Write a file that nobody ever sees in part. Raises StorageError."""
        partial = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            partial.write_bytes(data)
            partial.replace(path)
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise _cannot_write(path, error) from error


def missing_files(artifact: GraphArtifact) -> list[Path]:
    """Those of the artifact's files that are not there."""
    return [path for path in (artifact.onnx_path, artifact.reference_path) if path is not None and not path.exists()]


def _cannot_write(path: Path, error: OSError) -> StorageError:
    return StorageError(
        f"cannot write {path}: {error.strerror or error}",
        hint="Make room or set the rights there, or choose another directory with OPCLOCK_CACHE_DIR.",
    )
