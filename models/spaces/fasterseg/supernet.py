"""FasterSeg's supernet, and the way of its weights into fixed networks."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from models.networks.module import Network
from models.operators.layers import ConvBnRelu
from models.spaces.fasterseg.catalogue import Catalogue
from models.spaces.fasterseg.ends import label_of
from models.spaces.fasterseg.genotype import BranchSpec, FasterSegGenotype
from models.spaces.fasterseg.latency import latency_graph
from models.spaces.fasterseg.parameters import SCALES, STUDENT, TEACHER, FasterSegParameters
from models.spec.architectures import ArchitectureSpec
from models.spec.errors import InvalidSpecError, UnknownNameError
from models.supernets.base import Supernet
from models.supernets.head import Head, key
from models.supernets.multi_resolution import MultiResolutionSupernet


def build_supernet(parameters: FasterSegParameters, catalogue: Catalogue, classes: int) -> MultiResolutionSupernet:
    """The supernet whose student has the space's stem and head, and whose teacher the widest everywhere (§3.3).

    It has heads for the space's number of branches, and for single ones.
    """
    widest = parameters.widths[-1]
    teacher = parameters.model_copy(update={"stem_width": widest, "head_width": widest})
    graphs = {STUDENT: latency_graph(parameters, catalogue), TEACHER: latency_graph(teacher, catalogue)}
    return MultiResolutionSupernet(graphs, scales=SCALES, classes=classes, branches={1, parameters.branches})


class WeightCopy:
    """Copies weights from the supernet to one fixed network, step by step of its plan.

    Args:
        supernet: of the architecture's space.
        role: whose stem and head the network gets.
        network: of the architecture's plan.

    Raises:
        InvalidSpecError: the supernet is not one of this space, or has no such role.
    """

    def __init__(self, supernet: Supernet, role: str, network: Network) -> None:
        if not isinstance(supernet, MultiResolutionSupernet):
            raise InvalidSpecError(f"a {type(supernet).__name__} is not a supernet of this search space")
        if role not in supernet.roles:
            raise UnknownNameError.of("role", role, supernet.roles)
        self._supernet = supernet
        self._role = role
        self._steps = network.steps
        self._head: Head = supernet.head(role)

    def copy(
        self, architecture: ArchitectureSpec, parameters: FasterSegParameters, layers: Sequence[Sequence[int]] | None
    ) -> None:
        """Copies the stem, every cell, the ways back and, where the supernet combines these branches, the classifier."""
        for index, operator in enumerate(self._stem()):
            self._steps[f"stem{index}"].load_state_dict(operator.state_dict())
        genotype = FasterSegGenotype.of(architecture)
        for index, branch in enumerate(genotype.branches):
            cells = list(range(len(branch.operators))) if layers is None else list(layers[index])
            if len(cells) != len(branch.operators) or cells[-1] != parameters.layers - 1:
                raise InvalidSpecError(
                    f"branches.{index}: {len(branch.operators)} cells at layers {', '.join(map(str, cells))} of "
                    f"{parameters.layers}; each cell needs a layer, and the last cell the last layer",
                    hint="Give the layer of each cell.",
                )
            self._copy_cells(index, branch, cells)
            for place, operator in enumerate(self._supernet.branch_end(branch.scales[-1])):
                operator.copy_to(self._steps[f"branch{index}_end{place}"])
            self._copy_way_back(index, branch.scales[-1])
        self._copy_classifier(genotype.ends)

    def _stem(self) -> Sequence[nn.Module]:
        return list(self._supernet.stems[self._role].children())

    def _copy_cells(self, index: int, branch: BranchSpec, layers: Sequence[int]) -> None:
        scales = (*branch.scales, branch.scales[-1])
        for cell, (scale, following) in enumerate(pairwise(scales)):
            name = f"branch{index}_cell{cell}"
            if name in self._steps:  # else an earlier branch has the cell
                mixed = self._supernet.cell(layers[cell], scale, following // scale)
                mixed.choice(branch.operators[cell]).copy_to(self._steps[name])

    def _copy_way_back(self, index: int, end: int) -> None:
        way_back = self._head.way_back(end)
        for scale in way_back.scales:
            self._steps[f"branch{index}_reduce{scale}"].load_state_dict(way_back.reduction(scale).state_dict())
            way_back.refinement(scale).copy_to(self._steps[f"branch{index}_refine{scale}"])

    def _copy_classifier(self, ends: Sequence[int]) -> None:
        """The supernet concatenates branches from the finest to the coarsest, the network as the architecture lists them."""
        in_order, label = sorted(ends), label_of(ends)
        if label not in self._supernet.alternatives:
            raise InvalidSpecError(f"the supernet has no head for branches {label}")
        name = key(label)
        fusion = self._steps["fusion"]
        fusion.load_state_dict(self._head.fusion[name].state_dict())
        assert isinstance(fusion, ConvBnRelu)
        weight = fusion.conv1.weight
        with torch.no_grad():
            weight.copy_(_in_order(weight, [in_order.index(end) for end in ends]))
        self._steps["classifier"].load_state_dict(self._head.classifier[name].state_dict())


def _in_order(weight: Tensor, order: Sequence[int]) -> Tensor:
    """The weight with equal parts of its input channels in that order."""
    parts = weight.chunk(len(order), dim=1)
    return torch.cat([parts[index] for index in order], dim=1)
