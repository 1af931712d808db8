"""What a torch process does: from graph requests to files, cached by key. Imports torch when called, hence in the worker alone.

Everything in the cache can be made again; files are complete or absent.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from models.plugin_registry import Registry
from models.spaces.registry import SPACES
from models.spec.architectures import ArchitectureSpec
from models.spec.base import digest
from models.spec.errors import InvalidSpecError, UnknownNameError
from models.spec.graphs import GraphRequest
from models.spec.kinds import KINDS
from models.spec.measurements import Status
from models.spec.operators import OperatorSpec
from profiler_service.backends.base import GraphArtifact
from profiler_service.backends.errors import out_of_memory
from profiler_service.errors import DISK_FULL, FullDiskError, StorageError
from profiler_service.worker.process import ActivityFile, Phase
from profiler_service.worker.protocol import Failure

LARGE_REFERENCE_BYTES = 2**20
"""References above this size, those of whole networks, are deleted once they have been compared with, if no other job needs
the graph."""


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
            raise cannot_write(directory, error) from error
        return cls(directory)

    def artifact(self, request: GraphRequest, *, reads_onnx: bool, unrolled: bool = False) -> GraphArtifact:
        """Where that graph's files are, or will be; see `Backend.reads_onnx` and `Backend.unrolls`."""
        stem = "-".join(filter(None, (request.key(), request.version(), plugins_digest(request))))
        onnx_path = self.directory / f"{stem}{'.unrolled' if unrolled else ''}.onnx" if reads_onnx else None
        return GraphArtifact(request, onnx_path, reference_path=self.directory / f"{stem}.npy", unrolled=unrolled)

    def write(self, path: Path, data: bytes | memoryview) -> None:
        """Write a file that no process ever sees in part. Raises StorageError."""
        partial = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            partial.write_bytes(data)
            partial.replace(path)
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise cannot_write(path, error) from error


def files_of(artifact: GraphArtifact) -> list[Path]:
    """The artifact's files, whether they are there or not."""
    return [path for path in (artifact.onnx_path, artifact.reference_path) if path is not None]


def plugins_digest(request: GraphRequest) -> str:
    """Names the code of plugins that the graph is made by, and torch's version, which may have exported it, so that another
    version makes it anew; empty for our own.

    A network of a plugin's space may have any plugin's operators.
    """
    subject, digests = request.subject, []
    if isinstance(subject, OperatorSpec):
        digests = [_digest(KINDS, subject.kind)]
    if isinstance(subject, ArchitectureSpec) and subject.space not in SPACES.own_names():
        own = KINDS.own_names()
        digests = [_digest(SPACES, subject.space), *(_digest(KINDS, name) for name in KINDS.names() if name not in own)]
    return digest("plugins", [*digests, version("torch")])[:8] if any(digests) else ""


def _digest(registry: Registry[Any], name: str) -> str:
    try:
        return registry.code_digest(name)
    except UnknownNameError:  # whoever makes the graph is told
        return ""


def missing_files(artifact: GraphArtifact) -> list[Path]:
    """Those of the artifact's files that are not there."""
    return [path for path in files_of(artifact) if not path.exists()]


def cannot_write(path: Path, error: OSError) -> StorageError:
    """What that error of the system means for the owner of the cache."""
    kind = FullDiskError if error.errno in DISK_FULL else StorageError
    return kind(
        f"cannot write {path}: {error.strerror or error}",
        hint="Make room or set the rights there, or choose another directory with OPCLOCK_CACHE_DIR.",
    )


TORCH_MODULE = "profiler_service.worker.graph_files"
"""Imported by each worker when it starts, so that no graph's time includes torch's."""


@dataclass(frozen=True)
class GraphWorker:
    """Makes the files of one graph after another; picklable, called in a worker.

    Attributes:
        cache: where the files go.
        reads_onnx: whether the backend wants an ONNX file at all.
        unrolled: whether recurrences in it are written step by step.
        timeout_s: for one graph.
    """

    cache: GraphCache
    reads_onnx: bool
    timeout_s: float
    unrolled: bool = False

    def artifact(self, request: GraphRequest) -> GraphArtifact:
        """Where that graph's files are, or will be."""
        return self.cache.artifact(request, reads_onnx=self.reads_onnx, unrolled=self.unrolled)

    def __call__(self, request: GraphRequest, activity: ActivityFile) -> GraphArtifact | Failure:
        """The graph's files, or why they cannot be made. Raises StorageError."""
        from profiler_service.worker.graph_files import make_files

        activity.note(Phase.EXPORTING, request.key(), self.timeout_s)
        artifact = self.artifact(request)
        try:
            torch_export_s = make_files(artifact, self.cache)
        except StorageError:
            raise
        except Exception as error:  # whatever is wrong with one graph must not end the job
            status = Status.OUT_OF_MEMORY if out_of_memory(error) else Status.BUILD_ERROR
            why = str(error) if isinstance(error, InvalidSpecError) else f"{type(error).__name__}: {error}"
            return Failure(status, f"no graph could be made: {why}", request.key())
        return replace(artifact, torch_export_s=torch_export_s)
