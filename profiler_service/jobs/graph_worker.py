"""What a torch process does: from graph requests to files. Imports torch when it is called, hence in the worker alone."""

from __future__ import annotations

from dataclasses import dataclass

from models.spec.graphs import GraphRequest
from models.spec.measurements import Status
from profiler_service.backends.allocation import out_of_memory
from profiler_service.backends.base import GraphArtifact
from profiler_service.errors import StorageError
from profiler_service.jobs.activity import ActivityFile, Phase
from profiler_service.jobs.graph_cache import GraphCache
from profiler_service.jobs.messages import Failure

TORCH_MODULE = "profiler_service.jobs.graph_files"
"""Imported by each worker when it starts, so that no graph's time includes torch's."""


@dataclass(frozen=True)
class GraphWorker:
    """Makes the files of one graph after another; picklable, called in a worker.

    Attributes:
        cache: where the files go.
        reads_onnx: whether the backend wants an ONNX file at all.
        timeout_s: for one graph.
    """

    cache: GraphCache
    reads_onnx: bool
    timeout_s: float

    def __call__(self, request: GraphRequest, activity: ActivityFile) -> GraphArtifact | Failure:
        """The graph's files, or why they cannot be made. Raises StorageError."""
        from profiler_service.jobs.graph_files import make_files

        activity.note(Phase.EXPORTING, request.key(), self.timeout_s)
        artifact = self.cache.artifact(request, reads_onnx=self.reads_onnx)
        try:
            make_files(artifact, self.cache)
        except StorageError:
            raise
        except Exception as error:  # whatever is wrong with one graph must not end the job
            status = Status.OUT_OF_MEMORY if out_of_memory(error) else Status.BUILD_ERROR
            return Failure(status, f"no graph could be made: {type(error).__name__}: {error}", request.key())
        return artifact
