"""The layers of a network of somebody's own: which are timed, what they took, and how their sum compares with the whole.

Layers that compute the same on maps of the same shapes are timed once and counted as often as they occur. A layer's value is
that of its graph in context less that of its base, as for operators (docs/measurement.md).
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import sqrt
from pathlib import Path

from models.export.divided import Division, Layer, NotDivided
from models.export.layer_graphs import base, in_context, input_shape, memory_bytes, signature
from models.spec.base import Record
from models.spec.graphs import OwnNetwork
from models.spec.measurements import Flag, Status
from profiler_service.backends.base import GraphArtifact
from profiler_service.jobs.own_books import Outcome, OwnWorkload, own_graph
from profiler_service.jobs.planner import PlannedGraph

BASE_SHARE, VISIT_SHARE = 0.5, 0.1
"""Of an entry's variance: what it shares with entries of the same base, and with all (docs/measurement.md, ρb and ρv)."""

NORMAL_95 = 1.96
"""Standard errors on each side of a 95 % interval."""


class LayerMeasurement(Record):
    """The time of one layer, or of several that are alike. Fields that `Measurement` has too mean the same (docs/columns.md).

    Attributes:
        positions: where it stands among the layers, counted from 1; one for each time that it occurs.
        names: in the network, of its first weight or node; one for each position.
        label: what it computes.
        operators: types of its ONNX nodes.
        input_shapes, output_shape: of its maps, NCHW.
        macs: multiply-adds of one of them.
        value_ms, stderr_ms, plain_ms, base_ms: of one of them.
    """

    positions: tuple[int, ...]
    names: tuple[str, ...]
    label: str
    operators: tuple[str, ...]
    input_shapes: tuple[tuple[int, ...], ...]
    output_shape: tuple[int, ...]
    macs: int
    status: Status = Status.OK
    message: str = ""
    value_ms: float | None = None
    stderr_ms: float | None = None
    plain_ms: float | None = None
    base_ms: float | None = None
    between_round_spread: float | None = None
    samples: int = 0
    rounds: int = 0
    flags: tuple[Flag, ...] = ()

    @property
    def count(self) -> int:
        """How often it occurs."""
        return len(self.positions)

    @property
    def total_ms(self) -> float:
        """Of all of them; 0 where there is no value."""
        return self.count * (self.value_ms or 0.0)


class UndividedNodes(Record):
    """Nodes of the network that no layer holds. `macs`: their multiply-adds, together. `why`: the reason."""

    name: str
    operators: tuple[str, ...]
    macs: int
    why: str

    @classmethod
    def of(cls, part: NotDivided) -> UndividedNodes:
        """That part as a record."""
        return cls(name=part.name, operators=part.operators, macs=part.macs, why=part.why)


class DifferencePart(Record):
    """One line on what lies between sum and whole. `ms`: how much of it, or how large it may be; None where nobody knows."""

    name: str
    ms: float | None
    text: str


class LayersMeasurement(Record):
    """The layers of a network and their sum.

    Attributes:
        layers: by first position.
        not_divided: what the sum leaves out.
        nodes, macs: of the whole network.
        sum_ms, sum_stderr_ms: of all layers that have a value, each as often as it occurs.
        difference_ms: the whole less the sum; None where the whole has no value.
        explanation: what lies between them, line by line.
    """

    layers: tuple[LayerMeasurement, ...]
    not_divided: tuple[UndividedNodes, ...]
    nodes: int
    macs: int
    sum_ms: float
    sum_stderr_ms: float
    difference_ms: float | None
    explanation: tuple[DifferencePart, ...]

    def in_order(self) -> list[tuple[int, str, LayerMeasurement]]:
        """Position, name and measurement of every layer, as they run."""
        return sorted(
            (position, name, layer)
            for layer in self.layers
            for position, name in zip(layer.positions, layer.names, strict=True)
        )


@dataclass
class PlannedLayers:
    """What is timed for a network's layers.

    Attributes:
        division: the layers.
        alike: positions of layers that are timed as one, by the key of their graph.
        workloads: one for each key.
        artifacts: of layers and bases, by key; bases are shared.
    """

    division: Division
    alike: dict[str, list[int]] = field(default_factory=dict)
    workloads: dict[str, OwnWorkload] = field(default_factory=dict)
    artifacts: dict[str, GraphArtifact] = field(default_factory=dict)

    @classmethod
    def of(cls, network: OwnNetwork, division: Division, folder: Path) -> PlannedLayers:
        """The plan of all layers; their ONNX files are written into the folder."""
        planned = cls(division)
        keys: dict[str, str] = {}
        bases: dict[tuple[tuple[int, ...], ...], PlannedGraph] = {}
        for position, layer in enumerate(division.layers):
            shared = signature(layer)
            if shared not in keys:
                maps = tuple(layer.inputs.values())
                shape = input_shape(maps)
                if maps not in bases:
                    bases[maps] = planned._graph(f"base of {_channels(maps)}", base(maps, division), shape, folder, maps=maps)
                name = f"{network.name}, layer {position + 1} {layer.name}"
                graph = planned._graph(name, in_context(layer, division), shape, folder, layer=layer)
                keys[shared] = graph.key
                planned.workloads[graph.key] = OwnWorkload(graph, bases[maps])
            planned.alike.setdefault(keys[shared], []).append(position)
        return planned

    def _graph(
        self,
        name: str,
        data: bytes,
        shape: tuple[int, int, int, int],
        folder: Path,
        *,
        layer: Layer | None = None,
        maps: tuple[tuple[int, ...], ...] = (),
    ) -> PlannedGraph:
        held = memory_bytes(layer) if layer is not None else 4 * sum(n * c * h * w for n, c, h, w in maps)
        graph = own_graph(name, hashlib.sha256(data).hexdigest(), shape, held)
        path = folder / f"{graph.key}.onnx"
        path.write_bytes(data)
        self.artifacts[graph.key] = GraphArtifact(graph.request, onnx_path=path)
        return graph

    def result(self, outcomes: Mapping[str, Outcome], whole: Outcome) -> LayersMeasurement:
        """What the layers took, and how their sum compares with the whole."""
        layers = tuple(self._measurement(key, outcomes.get(key)) for key in self.alike)
        not_divided = tuple(map(UndividedNodes.of, self.division.not_divided))
        sum_ms = sum(layer.total_ms for layer in layers)
        stderr_ms = sum_stderr_ms(layers)
        whole_ms, whole_stderr_ms = whole.statistics.get("value_ms"), whole.statistics.get("stderr_ms") or 0.0
        return LayersMeasurement(
            layers=layers,
            not_divided=not_divided,
            nodes=sum(len(layer.nodes) for layer in self.division.layers) + sum(len(part.operators) for part in not_divided),
            macs=sum(layer.macs for layer in self.division.layers) + sum(part.macs for part in not_divided),
            sum_ms=sum_ms,
            sum_stderr_ms=stderr_ms,
            difference_ms=None if whole_ms is None else whole_ms - sum_ms,
            explanation=()
            if whole_ms is None
            else explained(layers, not_divided, whole_ms - sum_ms, sqrt(stderr_ms**2 + whole_stderr_ms**2)),
        )

    def _measurement(self, key: str, outcome: Outcome | None) -> LayerMeasurement:
        positions = self.alike[key]
        layer = self.division.layers[positions[0]]
        outcome = outcome or Outcome(Status.RUN_ERROR, "it was stopped before there was a value")
        known = {name: value for name, value in outcome.statistics.items() if name in LayerMeasurement.model_fields}
        return LayerMeasurement(
            positions=tuple(position + 1 for position in positions),
            names=tuple(self.division.layers[position].name for position in positions),
            label=layer.label(),
            operators=layer.operators,
            input_shapes=tuple(layer.inputs.values()),
            output_shape=layer.output_shape,
            macs=layer.macs,
            status=outcome.status,
            message=outcome.message,
            **known,
        )


def sum_stderr_ms(layers: tuple[LayerMeasurement, ...]) -> float:
    """Standard error of the sum, without what it shares with the whole: process and scale (docs/measurement.md)."""
    parts = [(layer.input_shapes, layer.count * (layer.stderr_ms or 0.0)) for layer in layers]
    bases: Counter[tuple[tuple[int, ...], ...]] = Counter()
    for shapes, error_ms in parts:
        bases[shapes] += error_ms  # type: ignore[assignment]
    own = (1 - BASE_SHARE - VISIT_SHARE) * sum(error_ms**2 for _, error_ms in parts)
    shared = BASE_SHARE * sum(error_ms**2 for error_ms in bases.values())
    return sqrt(own + shared + VISIT_SHARE * sum(error_ms for _, error_ms in parts) ** 2)


def explained(
    layers: tuple[LayerMeasurement, ...], not_divided: tuple[UndividedNodes, ...], difference_ms: float, stderr_ms: float
) -> tuple[DifferencePart, ...]:
    """What lies between the sum of the layers and the whole, `difference_ms`, whose standard error is given."""
    lines = []
    uncertain_ms = NORMAL_95 * stderr_ms
    lines.append(DifferencePart(name="uncertainty", ms=uncertain_ms, text="95 % interval of the difference, to each side"))
    if not_divided:
        kinds = Counter(operator for part in not_divided for operator in part.operators)
        text = ", ".join(f"{count} {kind}" if count > 1 else kind for kind, count in kinds.most_common())
        lines.append(DifferencePart(name="not divided", ms=None, text=f"only the whole has them: {text}"))
    if failed := [layer for layer in layers if layer.value_ms is None]:
        text = f"{sum(layer.count for layer in failed)} layers have no value; only the whole has them"
        lines.append(DifferencePart(name="failed", ms=None, text=text))
    if below := [layer for layer in layers if Flag.BELOW_RESOLUTION in layer.flags]:
        text = f"{sum(layer.count for layer in below)} layers that cannot be told from zero; the sum has so much of them"
        lines.append(DifferencePart(name="below resolution", ms=sum(layer.total_ms for layer in below), text=text))
    if abs(difference_ms) <= uncertain_ms:
        text = "nothing: the difference is within its uncertainty"
        lines.append(DifferencePart(name="rest", ms=0.0, text=text))
    elif difference_ms < 0:
        rest = "the whole is shorter: the runtime fuses across the cuts, and maps are still in a cache when they are read"
        lines.append(DifferencePart(name="rest", ms=difference_ms, text=rest))
    else:
        rest = "the whole is longer: layouts are converted between layers, and caches hold less beside the other layers' maps"
        if not_divided or failed:
            rest = f"what has no value, and: {rest}"
        lines.append(DifferencePart(name="rest", ms=difference_ms, text=rest))
    return tuple(lines)


def _channels(maps: tuple[tuple[int, ...], ...]) -> str:
    return " and ".join(f"{shape[1]} @{shape[2]}×{shape[3]}" for shape in maps)
