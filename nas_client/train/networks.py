"""Fixed networks as they are trained: scores at the size of the labels, and auxiliary heads that no trained network keeps."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from models.networks.module import Network, build_network, map_shapes
from models.networks.structure import NetworkPlan
from models.operators.layers import Resize
from models.spaces.registry import plan_at
from models.spec.architectures import ArchitectureSpec, InputSize
from models.supernets.head import build_classifier, resize

_UPSAMPLE = "upsample"


class Scores(NamedTuple):
    """Class scores. Shape of each: (N, classes, *size), as asked for.

    Attributes:
        combined: the network's own.
        auxiliary: those of the auxiliary heads.
    """

    combined: Tensor
    auxiliary: tuple[Tensor, ...]


class TrainableNetwork(nn.Module):
    """An architecture's network for images of one size, without its final upsampling, and its auxiliary heads.

    A head stands at the end of each branch that is coarser than the map from which the network predicts: at 1/16 and 1/32.
    The heads are beside the network: its weights, and with them whatever is exported or evaluated, know nothing of them.

    Args:
        architecture: of the network.
        size: (height, width) of the images; need not be the architecture's own.
        auxiliary: whether there are auxiliary heads.

    Attributes:
        network: the architecture's, all its weights.
        heads: by the step that ends the branch.

    Raises:
        InvalidSpecError: no network takes images of that size.

    Source: FasterSeg, as in its published code.
    """

    def __init__(self, architecture: ArchitectureSpec, size: InputSize, *, auxiliary: bool = False) -> None:
        super().__init__()
        complete = plan_at(architecture, size)
        last = complete.steps[-1]
        self._upsampling = last.operator if last.operator.kind == _UPSAMPLE else None
        plan = complete if self._upsampling is None else replace(complete, steps=complete.steps[:-1])
        self.network: Network = build_network(plan)
        self.heads = nn.ModuleDict(
            {
                step: build_classifier(channels, architecture.classes)
                for step, channels in _coarse_ends(plan).items()
                if auxiliary
            }
        )

    def forward(self, images: Tensor, size: tuple[int, int]) -> Scores:
        maps = self.network.maps(images)
        combined = maps[self.network.plan.steps[-1].name]
        if combined.shape[2:] != size:
            combined = resize(combined, size) if self._upsampling is None else Resize.of(self._upsampling, size)(combined)
        return Scores(combined, tuple(resize(head(maps[step]), size) for step, head in self.heads.items()))


def _coarse_ends(plan: NetworkPlan) -> dict[str, int]:
    """The steps that end branches at a coarser resolution than the network's scores, with their channels."""
    shapes = map_shapes(plan)
    finest = shapes[plan.steps[-1].name][2]
    return {step: shapes[step][1] for step in plan.branch_ends if shapes[step][2] < finest}


def seeded_network(architecture: ArchitectureSpec, size: InputSize, *, auxiliary: bool, seed: int) -> TrainableNetwork:
    """With weights as torch initialises them, which follow from the seed; torch's own generators stay as they are."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return TrainableNetwork(architecture, size, auxiliary=auxiliary)
