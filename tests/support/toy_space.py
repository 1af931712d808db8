"""A search space of DAG cells, RSPNet-like and as small as can be: every edge is always used; no β, no γ."""

from __future__ import annotations

from typing import ClassVar, Self

import numpy as np

from models.networks.structure import INPUT, NetworkPlan, OperatorStep
from models.spaces.base import Edge, LatencyGraph, Node, ParameterShapes, Probabilities, unique
from models.spaces.registry import register_space
from models.spec.architectures import ArchitectureSpec, SpaceSpec
from models.spec.errors import InvalidSpecError
from models.spec.operators import OperatorSpec
from tests.support.toy_search import ToySearch

KINDS = ("skip", "conv3x3", "zoomed_conv3x3_x2")
CELLS, CHANNELS = 2, 8
CELL_EDGES = ((0, 1), (0, 2), (1, 2))
"""A cell: its input 0, two nodes that sum what enters them, node 2 its output."""
EDGES = tuple((2 * cell + a, 2 * cell + b) for cell in range(CELLS) for a, b in CELL_EDGES)


@register_space
class ToySpace(ToySearch):
    """Two cells at half resolution. The genotype holds the operators of the edges, in order."""

    name: ClassVar[str] = "toy_dag"
    description: ClassVar[str] = "DAG cells, for tests"
    size_multiple: int = 2

    @classmethod
    def from_spec(cls, spec: SpaceSpec) -> Self:
        for name in spec.parameters:
            raise InvalidSpecError(f"unknown parameter {name!r}; this space has none")
        if any(side % cls.size_multiple for side in spec.input_size):
            raise InvalidSpecError(f"input_size: {spec.input_size} is not divisible by 2")
        return cls(spec)

    def operators(self) -> tuple[OperatorSpec, ...]:
        return unique([self._stem, *(self._edge(kind) for kind in KINDS), *self._head, self._sum])

    def parameter_shapes(self) -> ParameterShapes:
        return {"alpha": {str(c): (len(CELL_EDGES), len(KINDS)) for c in range(CELLS)}, "beta": {}, "gamma": {}}

    def latency_graph(self) -> LatencyGraph:
        choices = tuple(((self._edge(kind),),) for kind in KINDS)
        return LatencyGraph(
            nodes=(Node((CHANNELS,)),) * (2 * CELLS + 1),
            edges=tuple(Edge(a, b, row, None, choices) for row, (a, b) in enumerate(EDGES)),
            outputs=None,
            fixed=(self._stem, *(self._sum,) * CELLS),
        )

    def plan(self, architecture: ArchitectureSpec) -> NetworkPlan:
        self.spec.require_own(architecture)
        chosen = architecture.genotype.get("operators", ())
        if len(chosen) != len(EDGES) or not all(kind in KINDS for kind in chosen):
            raise InvalidSpecError(
                f"genotype.operators: {chosen} must name one of {', '.join(KINDS)} for each of {len(EDGES)} edges"
            )
        steps = [OperatorStep("stem", self._stem, INPUT)]
        maps = {0: "stem"}
        for node in range(1, 2 * CELLS + 1):
            entering = [(edge, a) for edge, (a, b) in enumerate(EDGES) if b == node]
            for edge, source in entering:
                steps.append(OperatorStep(f"edge{edge}", self._edge(architecture.genotype["operators"][edge]), maps[source]))
            maps[node] = f"edge{entering[0][0]}"
            if len(entering) > 1:
                maps[node] = f"sum{node}"
                steps.append(OperatorStep(maps[node], self._sum, [f"edge{edge}" for edge, _ in entering]))
        classifier, upsampling = self._head
        head = OperatorStep("classifier", classifier, maps[2 * CELLS]), OperatorStep("upsampling", upsampling, "classifier")
        return NetworkPlan((*steps, *head))

    def sample(self, rng: np.random.Generator) -> ArchitectureSpec:
        odds = rng.dirichlet(np.full(len(KINDS), 0.5))
        return ToySpace._decode(self, {"alpha": {"": np.eye(len(KINDS))[rng.choice(len(KINDS), size=len(EDGES), p=odds)]}})

    def _decode(self, probabilities: Probabilities, *_: object) -> ArchitectureSpec:
        kinds = tuple(KINDS[k] for rows in probabilities["alpha"].values() for k in rows.argmax(axis=1))
        spec = self.spec.model_dump(include={"input_size", "classes", "batch", "dtype"})
        return ArchitectureSpec(space=self.name, genotype={"operators": kinds}, **spec)

    @property
    def _half(self) -> tuple[int, int]:
        return (self.spec.input_size[0] // 2, self.spec.input_size[1] // 2)

    def _make(self, kind: str, channels: tuple[int, int], size: tuple[int, int], **extra: object) -> OperatorSpec:
        shape = {"in_channels": channels[0], "out_channels": channels[1], "height": size[0], "width": size[1]}
        return OperatorSpec.parse({"kind": kind, **shape, "batch": self.spec.batch, "dtype": self.spec.dtype, **extra})

    def _edge(self, kind: str) -> OperatorSpec:
        return self._make(kind, (CHANNELS, CHANNELS), self._half)

    @property
    def _sum(self) -> OperatorSpec:
        return self._make("add", (CHANNELS, CHANNELS), self._half)

    @property
    def _stem(self) -> OperatorSpec:
        return self._make("conv_bn_relu", (3, CHANNELS), self.spec.input_size, stride=2)

    @property
    def _head(self) -> tuple[OperatorSpec, OperatorSpec]:
        upsampling = self._make("upsample", (self.spec.classes,) * 2, self._half, attributes={"scale": 2})
        return (self._make("segmentation_head", (CHANNELS, self.spec.classes), self._half), upsampling)
