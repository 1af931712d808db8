"""Supernets of any latency graph: a stem, its mixed edges, and a head."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import cast

from torch import Tensor, nn

from models.networks.graph_plan import edge_step, head_step, node_step, stem_step
from models.networks.module import Network
from models.networks.structure import LatencyGraph
from models.operators.layers import build_operator
from models.spec.errors import InvalidSpecError, UnknownNameError
from models.spec.operators import OperatorSpec
from models.supernets.base import Mixture, Predictions, Supernet
from models.supernets.cells import Cells
from models.supernets.head import key, resize
from models.supernets.mixed_operators import MixedOperator

RESIZING = frozenset({"upsample", "resize"})
"""Kinds at the end of a head that bring the scores to the size of the image; here the size is asked for."""


class DagSupernet(Supernet):
    """The stem is the graph's fixed operators, the head a sequence that the space states.

    Shape: images (N, 3, H, W); predictions (N, classes, H, W).

    Args:
        graphs: each role's, of the same nodes and edges.
        heads: each role's operators after the output, the last making the scores; what resizes them is left out here.
        outputs: the node of each prediction, by the label of its alternative; the last node, under an empty label, where None.
        cells: what makes the mixed edges of the graphs.
    """

    def __init__(
        self,
        graphs: Mapping[str, LatencyGraph],
        heads: Mapping[str, Sequence[OperatorSpec]],
        *,
        outputs: Mapping[str, int] | None = None,
        cells: Callable[[Mapping[str, LatencyGraph]], Cells] = Cells,
    ) -> None:
        super().__init__()
        graph = next(iter(graphs.values()))
        self.outputs: dict[str, int] = {"": len(graph.nodes) - 1} if outputs is None else dict(outputs)
        self.roles, self.alternatives = tuple(graphs), tuple(self.outputs)
        self.stems = nn.ModuleDict(
            {role: nn.Sequential(*map(build_operator, of_role.fixed)) for role, of_role in graphs.items()}
        )
        self.cells = cells(graphs)
        self.heads = nn.ModuleDict(
            {
                role: nn.ModuleDict({key(label): _head(operators) for label in self.alternatives})
                for role, operators in heads.items()
            }
        )

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
        asked = self.alternatives if alternatives is None else tuple(alternatives)
        of_images = (images.shape[2], images.shape[3])
        ends = [self.outputs[label] for label in asked]
        maps = self.cells(self.stems[role](images), mixture, role, ends, size=of_images)
        heads = cast("nn.ModuleDict", self.heads[role])
        return Predictions(
            {label: resize(heads[key(label)](maps[end]), size or of_images) for label, end in zip(asked, ends, strict=True)}
        )

    def path_logits(self) -> Tensor | None:
        return self.cells.path_logits()

    def merge_statistics(self, sum_in_place: Callable[[Sequence[Tensor]], None]) -> None:
        self.cells.merge_statistics(sum_in_place)

    def copy_to(self, network: Network, role: str, alternative: str = "", *, searched: Mapping[str, str] | None = None) -> None:
        """Gives a network of this graph the weights that its steps have here.

        Args:
            network: of a `graph_plan`; changed in place.
            role: whose stem and head to take.
            alternative: whose head to take.
            searched: by the name of a network's step, the name that it has here, where the two differ.

        Raises:
            InvalidSpecError: the network is not one of this graph.
            UnknownNameError: there is no such role.
        """
        if role not in self.roles:
            raise UnknownNameError.of("role", role, self.roles)
        own = self._by_step(role, alternative)
        for step in network.plan.steps:
            target = network.steps[step.name]
            if not any(True for _ in target.state_dict()):
                continue
            name = (searched or {}).get(step.name, step.name)
            if name not in own:
                raise InvalidSpecError(f"step {step.name!r} is none of this supernet's")
            module = own[name]
            if isinstance(module, MixedOperator):
                module.matching(step.operator).copy_to(target)
            else:
                target.load_state_dict(module.state_dict())

    def _by_step(self, role: str, alternative: str) -> dict[str, nn.Module]:
        """What makes each step's map here."""
        stem = cast("nn.Sequential", self.stems[role])
        head = cast("nn.Sequential", cast("nn.ModuleDict", self.heads[role])[key(alternative)])
        found = {stem_step(index): module for index, module in enumerate(stem)}
        found |= {head_step(index): module for index, module in enumerate(head)}
        for index, mixed in enumerate(self.cells.mixed):
            following = self.cells.following(index)
            along = [*([mixed] if isinstance(mixed, MixedOperator) else []), *following]
            found |= {edge_step(index, place): module for place, module in enumerate(along)}
        for node, own in self.cells.own.items():
            for place, module in cast("nn.ModuleDict", own).items():
                found[node_step(int(node), int(place))] = module
        return found


def _head(operators: Sequence[OperatorSpec]) -> nn.Sequential:
    kept = list(operators)
    while kept and kept[-1].kind in RESIZING:
        kept.pop()
    return nn.Sequential(*map(build_operator, kept))
