"""The supernet of the toy space: mixed operators that are all used, and one head."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from torch import Tensor

from models.networks.module import Network
from models.networks.structure import LatencyGraph
from models.operators.layers import build_operator
from models.spec.operators import OperatorSpec
from models.supernets.base import Mixture, Predictions, Supernet
from models.supernets.cells import Cells
from models.supernets.head import resize
from models.supernets.mixed_operators import MixedOperator

ROLE = "network"


class ToySupernet(Supernet):
    """One role, and nothing to choose."""

    def __init__(self, graph: LatencyGraph, classifier: OperatorSpec) -> None:
        super().__init__()
        self.roles, self.alternatives = (ROLE,), ("",)
        self.stem = build_operator(graph.fixed[0])
        self.cells = Cells({ROLE: graph})
        self.classifier = build_operator(classifier)
        self.end = len(graph.nodes) - 1

    def forward(
        self,
        images: Tensor,
        mixture: Mixture,
        *,
        role: str,
        alternatives: Collection[str] | None = None,
        auxiliary: bool = False,
        size: tuple[int, int] | None = None,
    ) -> Predictions:
        maps = self.cells(self.stem(images), mixture, role, [self.end])
        scores = self.classifier(maps[self.end])
        return Predictions({"": resize(scores, size or (images.shape[2], images.shape[3]))})

    def copy_to(self, kinds: Sequence[str], network: Network) -> None:
        """Gives the network with these operators its weights."""
        network.steps["stem"].load_state_dict(self.stem.state_dict())
        network.steps["classifier"].load_state_dict(self.classifier.state_dict())
        for edge, (mixed, kind) in enumerate(zip(self.cells.mixed, kinds, strict=True)):
            assert isinstance(mixed, MixedOperator)
            mixed.choice(kind).copy_to(network.steps[f"edge{edge}"])
