"""Checks of engines that have passed, kept beside the graphs: a job that is killed while it checks goes on where it was.

Kept are the reports of engines that computed what torch does, one small file for each graph and target. Failures are not kept.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

from models.spec.measurements import Status
from profiler_service.backends.base import GraphArtifact
from profiler_service.worker.graphs import GraphCache
from profiler_service.worker.protocol import BuildReport

SUFFIX = ".check"


@dataclass(frozen=True)
class PassedChecks:
    """Those of one target.

    Attributes:
        cache: where graphs and reports are; other graphs have none.
        target_id: see `TargetSpec.id`: another device, runtime or option checks anew.
    """

    cache: GraphCache
    target_id: str

    def find(self, artifact: GraphArtifact) -> BuildReport | None:
        """The report on that graph as it is now; None where there is none, or where its file cannot be read or is not whole."""
        path = self._path(artifact)
        if path is None:
            return None
        try:
            kept = json.loads(path.read_bytes())
            if kept["graph"] != _digest(artifact) or kept["report"]["key"] != artifact.request.key():
                return None
            report = BuildReport(**{**kept["report"], "status": Status(kept["report"]["status"])})
        except (OSError, ValueError, TypeError, KeyError):
            return None
        return report if report.status is Status.OK else None

    def keep(self, artifact: GraphArtifact, report: BuildReport) -> None:
        """Keep the report on an engine that passed. Does nothing for a graph outside the cache. Raises StorageError."""
        path = self._path(artifact)
        if path is not None and report.status is Status.OK:
            self.cache.write(path, json.dumps({"graph": _digest(artifact), "report": asdict(report)}).encode())

    def _path(self, artifact: GraphArtifact) -> Path | None:
        reference = artifact.reference_path
        if reference is None or reference.parent != self.cache.directory:
            return None
        return reference.with_name(f"{reference.stem}.{self.target_id}{SUFFIX}")


def _digest(artifact: GraphArtifact) -> str:
    """Of the ONNX file; empty for a backend that builds from torch modules, whose code the file's name stands for."""
    return "" if artifact.onnx_path is None else sha256(artifact.onnx_path.read_bytes()).hexdigest()
