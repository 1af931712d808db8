"""A search space: down to a quarter of the image and up again. One node takes the best two of three edges."""

from itertools import combinations

from models.networks.graph_plan import GraphChoices, graph_plan
from models.spaces.base import Edge, LatencyGraph, Node, NodeOperator, SearchSpace, unique
from models.spec.architectures import ArchitectureSpec, SpaceSpec
from models.spec.errors import InvalidSpecError
from models.spec.operators import OperatorSpec

WIDTH = 16
DOWN = ("conv3x3", "conv3x3_x2")
KINDS = ("conv3x3", "conv3x3_x2", "attention", "sweep")
PAIRS = tuple(combinations(range(3), 2))
ROWS = (DOWN, DOWN, KINDS, KINDS, KINDS, KINDS)  # the operators that each row of α chooses from
ROLE = "network"


def pair(edge):
    """The choices of β under which the node takes that edge of the three."""
    return (0, tuple(choice for choice, chosen in enumerate(PAIRS) if edge in chosen))


class LatticeSpace(SearchSpace):
    """One width, one role; α chooses operators, β a pair of edges. A genotype names the operators and the pair's edges."""

    name = "lattice"
    description = "A small DAG with attention"
    size_multiple = 4

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
        alpha = {"down": (2, len(DOWN)), "cell": (4, len(KINDS))}
        return {"alpha": alpha, "beta": {"pair": (1, len(PAIRS))}, "gamma": {}}

    def latency_graph(self):
        def chosen(kinds, stride=1):
            scale = 2 if stride == 2 else 4
            return tuple(((self._make(kind, WIDTH, WIDTH, scale, stride=stride),),) for kind in kinds)

        def node(scale, kind="", channels=WIDTH, **attributes):
            operators = (NodeOperator((self._make(kind, channels, channels, scale, **attributes),)),) if kind else ()
            return Node((channels,), join="concat" if kind == "concat" else "sum", scale=scale, operators=operators)

        height, width = self._size(2)
        up = self._make("resize", WIDTH, WIDTH, 4, to_height=height, to_width=width)
        return LatencyGraph(
            nodes=(
                node(2),
                node(4),
                node(4),
                node(4, "add"),
                node(4, "concat", 2 * WIDTH, sources=f"{WIDTH}+{WIDTH}"),
                node(4),
                node(2, "add"),
            ),
            edges=(
                Edge(0, 1, 0, None, chosen(DOWN, stride=2)),
                Edge(1, 2, 2, None, chosen(KINDS)),
                Edge(0, 3, 1, pair(0), chosen(DOWN, stride=2)),
                Edge(1, 3, 3, pair(1), chosen(KINDS)),
                Edge(2, 3, 4, pair(2), chosen(KINDS)),
                Edge(2, 4, None, None, ()),
                Edge(3, 4, None, None, ()),
                Edge(4, 5, None, None, (((self._make("conv_bn_relu", 2 * WIDTH, WIDTH, 4, kernel=1),),),)),
                Edge(5, 6, 5, None, chosen(KINDS), after=(((up,),),)),
                Edge(0, 6, None, None, ()),
            ),
            outputs=None,
            fixed=(self._make("conv_bn_relu", 3, WIDTH, 1, stride=2),),
        )

    def plan(self, architecture: ArchitectureSpec):
        self.spec.require_own(architecture)
        kinds, edges = architecture.genotype.get("operators", ()), tuple(architecture.genotype.get("pair", ()))
        if len(kinds) != len(ROWS) or any(kind not in row for kind, row in zip(kinds, ROWS, strict=True)):
            raise InvalidSpecError(
                f"genotype.operators: {list(kinds)} does not name one operator for each of {len(ROWS)} edges"
            )
        if edges not in PAIRS:
            raise InvalidSpecError(f"genotype.pair: {list(edges)} is none of {', '.join(map(str, PAIRS))}")
        alpha = tuple(row.index(kind) for kind, row in zip(kinds, ROWS, strict=True))
        return graph_plan(self.latency_graph(), GraphChoices(alpha, (PAIRS.index(edges),)), self._head())

    def sample(self, rng):
        odds = rng.dirichlet([0.5] * len(KINDS))
        down = rng.integers(len(DOWN), size=2)
        return self._architecture([*down, *rng.choice(len(KINDS), size=4, p=odds)], rng.integers(len(PAIRS)))

    def _decode(self, probabilities, alternative, role, options):
        rows = [row for group in probabilities["alpha"].values() for row in group]
        return self._architecture([row.argmax() for row in rows], probabilities["beta"]["pair"][0].argmax())

    def supernet(self):
        from models.supernets.dag import DagSupernet  # torch

        return DagSupernet({ROLE: self.latency_graph()}, {ROLE: self._head()})

    def copy_weights(self, supernet, role, architecture, network, *, layers=None):
        supernet.copy_to(network, role)

    def _architecture(self, operators, pair):
        spec = self.spec.model_dump(include={"input_size", "classes", "batch", "dtype"})
        genotype = {"operators": [row[k] for row, k in zip(ROWS, operators, strict=True)], "pair": list(PAIRS[pair])}
        return ArchitectureSpec(space=self.name, genotype=genotype, **spec)

    def _size(self, scale):
        return tuple(side // scale for side in self.spec.input_size)

    def _make(self, kind, entering, leaving, at, *, stride=1, **attributes):
        height, width = self._size(at)
        shape = {"in_channels": entering, "out_channels": leaving, "height": height, "width": width, "stride": stride}
        common = {"batch": self.spec.batch, "dtype": self.spec.dtype, "attributes": attributes}
        return OperatorSpec.parse({"kind": kind, **shape, **common})

    def _head(self):
        classes = self.spec.classes
        return self._make("segmentation_head", WIDTH, classes, 2), self._make("upsample", classes, classes, 2, scale=2)
