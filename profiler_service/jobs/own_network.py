"""Timing one network of somebody's own, and its layers, on the clock of operators and found networks (docs/measurement.md).

They take turns with the sentinel, round by round, until their values are known well enough. Nothing is stored: a network of no
search space belongs to no table.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.export.divided import divide
from models.spec.base import Record, UtcTime
from models.spec.errors import InvalidSpecError
from models.spec.graphs import GraphRequest, OwnNetwork
from models.spec.measurements import Flag, Status
from models.spec.targets import TargetSpec
from models.spec.verdicts import Verdict, entry_reasons
from profiler_service.backends.base import GraphArtifact
from profiler_service.jobs.own_books import Outcome, OwnBooks, OwnWorkload
from profiler_service.jobs.own_job import OwnJob, no_sentinel, scale_reasons
from profiler_service.jobs.own_layers import LayersMeasurement, PlannedLayers
from profiler_service.jobs.planner import PlannedGraph
from profiler_service.jobs.round_robin import measure_round_robin
from profiler_service.measure.sentinel import SENTINEL_GRAPH
from profiler_service.worker.protocol import Failure


class NetworkMeasurement(Record):
    """The time of a network. Fields that `Measurement` has too mean the same (docs/columns.md).

    Attributes:
        network: what was timed.
        target: where.
        reference_ms: the target's sentinel unit, in which values are normalised; null where no table has one yet: then all
            times are plain milliseconds.
        unsettled: why that unit is not established; empty where it is, or where there is none.
        checked: whether the engine's output was compared with a torch module's.
        layers: those of the network and their sum, as far as it divides; None where they were not asked for or cannot be had.
        no_layers: why there are none; empty where there are some.
    """

    network: OwnNetwork
    target: TargetSpec
    status: Status = Status.OK
    message: str = ""
    reference_ms: float | None = None
    unsettled: str = ""
    checked: bool = False
    value_ms: float | None = None
    stderr_ms: float | None = None
    plain_ms: float | None = None
    median_ms: float | None = None
    min_ms: float | None = None
    mean_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None
    ci95_low_ms: float | None = None
    ci95_high_ms: float | None = None
    cv: float | None = None
    between_round_spread: float | None = None
    sentinel_ratio: float | None = None
    samples: int = 0
    rounds: int = 0
    build_s: float | None = None
    engine_bytes: int | None = None
    peak_memory_bytes: int | None = None
    output_error: float | None = None
    host_load: float | None = None
    measured_at: UtcTime | None = None
    flags: tuple[Flag, ...] = ()
    layers: LayersMeasurement | None = None
    no_layers: str = ""

    def verdict(self) -> Verdict:
        """Whether the values can be trusted, by the rules for a table's entries; failed ones do not count."""
        reasons = scale_reasons(self.reference_ms, self.unsettled) + entry_reasons([self], "network")
        if self.layers is not None and self.layers.layers:
            reasons += entry_reasons(self.layers.layers, "layers")
        return Verdict.of(reasons)


@dataclass
class OwnNetworkJob(OwnJob):
    """One network to be measured.

    Attributes:
        network: what to time.
        artifact: its graph, where there is a file already; None for a module, whose graph the workers make.
        layers_folder: where the graphs of its layers are written; None to time the whole alone.
    """

    network: OwnNetwork
    artifact: GraphArtifact | None
    layers_folder: Path | None = None

    def run(self) -> NetworkMeasurement | None:
        """The measurement, be it of a failure; None if it was stopped before there was a value.

        Raises:
            JobError: the sentinel cannot be built or timed.
            InvalidSpecError: the network's dtype is not one of the backend's.
        """
        self.on_phase("building")
        sentinel = self._made(GraphRequest(subject=SENTINEL_GRAPH.subject))
        if isinstance(sentinel, Failure):
            raise no_sentinel(sentinel)
        request = GraphRequest(subject=self.network)
        artifact = self.artifact or self._made(request)
        if isinstance(artifact, Failure):
            return self._result(Outcome(artifact.status, artifact.message))
        layers, why = self._layers(artifact)
        checked = artifact.reference_path is not None
        whole = OwnWorkload(PlannedGraph(request, 0), operators=max(len(layers.alike), 1) if layers else 1)
        workloads = [whole, *(layers.workloads.values() if layers else ())]
        artifacts = {sentinel.request.key(): sentinel, request.key(): artifact} | (layers.artifacts if layers else {})
        books = OwnBooks(workloads, self.budget, self.reference_ms)
        self.on_phase("building")
        self.build_all(artifacts, books)
        if request.key() in artifacts:
            measure_round_robin(self.context(self.network.key(), books), artifacts)
        books.finalize(early=True)
        outcome = books.outcomes.get(request.key())
        if outcome is None:
            return None
        divided = None if layers is None or outcome.status is not Status.OK else layers.result(books.outcomes, outcome)
        return self._result(outcome, checked=checked and outcome.status is Status.OK, layers=divided, no_layers=why)

    def _made(self, request: GraphRequest) -> GraphArtifact | Failure:
        ((_, outcome),) = self.workers.prepare([request])
        return outcome

    def _layers(self, artifact: GraphArtifact) -> tuple[PlannedLayers | None, str]:
        """The layers to time; or None, and why there are none."""
        if self.layers_folder is None:
            return None, "they were not asked for"
        if artifact.onnx_path is None:
            return None, f"backend {self.workers.description.target.backend!r} reads no ONNX graph, which is what is divided"
        self.on_phase("dividing")
        try:
            division = divide(artifact.onnx_bytes())
        except InvalidSpecError as error:
            return None, error.message if not error.hint else f"{error.message}. {error.hint}"
        return PlannedLayers.of(self.network, division, self.layers_folder), ""

    def _result(self, outcome: Outcome, **fields: Any) -> NetworkMeasurement:
        target = self.workers.description.target
        known = {name: value for name, value in outcome.statistics.items() if name in NetworkMeasurement.model_fields}
        return NetworkMeasurement(
            network=self.network,
            target=target,
            reference_ms=self.reference_ms,
            unsettled=self.unsettled,
            status=outcome.status,
            message=outcome.message,
            **known,
            **fields,
        )
