"""A search space: a stage at half resolution, a step down, a stage at a quarter. Every edge chooses one of four operators."""

from models.networks.graph_plan import GraphChoices, graph_plan
from models.spaces.base import Edge, LatencyGraph, Node, NodeOperator, SearchSpace, unique
from models.spec.architectures import ArchitectureSpec, SpaceSpec
from models.spec.errors import InvalidSpecError
from models.spec.operators import OperatorSpec

KINDS = ("skip", "conv3x3", "conv3x3_x2", "depthwise_separable")
EDGES = ((0, 1), (0, 2), (1, 2), (2, 3), (3, 4), (3, 5), (4, 5))
CHANNELS = (8, 8, 8, 16, 16, 16)  # of each node's map; where they change, the resolution is halved
ROLE = "network"


class LeafSpace(SearchSpace):
    """Nodes sum what enters them. All edges are used, and all maps have one width: there is α, but neither β nor γ."""

    name = "leaf"
    description = "Two small stages of DAG cells"
    size_multiple = 4
    idle_operators = ("skip",)

    @classmethod
    def from_spec(cls, spec: SpaceSpec):
        for name in spec.parameters:
            raise InvalidSpecError(f"unknown parameter {name!r}; this space has none")
        if any(side % cls.size_multiple for side in spec.input_size):
            raise InvalidSpecError(f"input_size: {spec.input_size} is not divisible by {cls.size_multiple}")
        return cls(spec)

    def operators(self):
        return unique([*self.latency_graph().operators(), *self._head()])

    def parameter_shapes(self):
        return {"alpha": {"edges": (len(EDGES), len(KINDS))}, "beta": {}, "gamma": {}}

    def latency_graph(self):
        edges = (
            Edge(*edge, row, None, tuple(((self._on_edge(kind, edge),),) for kind in KINDS)) for row, edge in enumerate(EDGES)
        )
        nodes = (Node((channels,), operators=self._sums(node)) for node, channels in enumerate(CHANNELS))
        return LatencyGraph(nodes=tuple(nodes), edges=tuple(edges), outputs=None, fixed=(self._stem(),))

    def plan(self, architecture: ArchitectureSpec):
        self.spec.require_own(architecture)
        chosen = architecture.genotype.get("operators", ())
        if len(chosen) != len(EDGES) or not all(kind in KINDS for kind in chosen):
            raise InvalidSpecError(
                f"genotype.operators: {chosen} must name one of {', '.join(KINDS)} for each of {len(EDGES)} edges"
            )
        choices = GraphChoices(alpha=tuple(map(KINDS.index, chosen)))
        return graph_plan(self.latency_graph(), choices, self._head())

    def sample(self, rng):
        odds = rng.dirichlet([0.5] * len(KINDS))
        return self._architecture(rng.choice(len(KINDS), size=len(EDGES), p=odds))

    def _decode(self, probabilities, alternative, role, options):
        return self._architecture(probabilities["alpha"]["edges"].argmax(axis=1))

    def supernet(self):
        from models.supernets.dag import DagSupernet  # torch

        return DagSupernet({ROLE: self.latency_graph()}, {ROLE: self._head()})

    def copy_weights(self, supernet, role, architecture, network, *, layers=None):
        supernet.copy_to(network, role)

    def _architecture(self, choices):
        spec = self.spec.model_dump(include={"input_size", "classes", "batch", "dtype"})
        return ArchitectureSpec(space=self.name, genotype={"operators": [KINDS[k] for k in choices]}, **spec)

    def _size(self, node):
        return tuple(side // (2 if CHANNELS[node] == 8 else 4) for side in self.spec.input_size)

    def _make(self, kind, channels, size, **extra):
        shape = {"in_channels": channels[0], "out_channels": channels[1], "height": size[0], "width": size[1]}
        return OperatorSpec.parse({"kind": kind, **shape, "batch": self.spec.batch, "dtype": self.spec.dtype, **extra})

    def _on_edge(self, kind, edge):
        start, end = edge
        channels = CHANNELS[start], CHANNELS[end]
        return self._make(kind, channels, self._size(start), stride=1 if channels[0] == channels[1] else 2)

    def _sums(self, node):
        if node not in (2, 5):
            return ()
        return (NodeOperator((self._make("add", (CHANNELS[node],) * 2, self._size(node)),)),)

    def _stem(self):
        return self._make("conv_bn_relu", (3, CHANNELS[0]), self.spec.input_size, stride=2)

    def _head(self):
        classes, size = self.spec.classes, self._size(-1)
        classifier = self._make("segmentation_head", (CHANNELS[-1], classes), size)
        return classifier, self._make("upsample", (classes, classes), size, attributes={"scale": 4})
