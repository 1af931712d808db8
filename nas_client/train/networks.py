"""Fixed networks as they are trained: scores at the size of the labels, and auxiliary heads that no trained network keeps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from models.networks.module import Network, build_network, map_shapes
from models.networks.structure import NetworkPlan
from models.operators.layers import Resize
from models.spaces.registry import plan_at
from models.spaces.search_defaults import AuxiliaryHeads
from models.spec.architectures import ArchitectureSpec, InputSize
from models.spec.errors import InvalidSpecError
from models.supernets.head import build_classifier, resize

UPSAMPLE = "upsample"
"""The kind of the last step of networks whose scores are coarser than the images."""


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

    A head stands at the end of each branch that is coarser than the map from which the network predicts: at 1/16 and 1/32. Or
    heads stand where the space's authors had them; one that sees several maps concatenates them.
    The heads are beside the network: its weights, and with them whatever is exported or evaluated, know nothing of them.

    Args:
        architecture: of the network.
        size: (height, width) of the images; need not be the architecture's own.
        auxiliary: whether there are auxiliary heads.
        auxiliary_heads: which, see `LossConfig`.

    Attributes:
        network: the architecture's, all its weights.
        heads: by the step whose map it sees first.

    Raises:
        InvalidSpecError: no network takes images of that size; or the space has no published auxiliary heads.

    Source: FasterSeg, as in its published code.
    """

    def __init__(
        self,
        architecture: ArchitectureSpec,
        size: InputSize,
        *,
        auxiliary: bool = False,
        auxiliary_heads: AuxiliaryHeads = "ends",
    ) -> None:
        super().__init__()
        complete = plan_at(architecture, size)
        last = complete.steps[-1]
        self._upsampling = last.operator if last.operator.kind == UPSAMPLE else None
        plan = complete if self._upsampling is None else replace(complete, steps=complete.steps[:-1])
        self.network: Network = build_network(plan)
        shapes = map_shapes(plan)
        seen = _seen(plan, architecture, auxiliary_heads) if auxiliary else ()
        self._seen = {steps[0]: steps for steps in seen}
        self.heads = nn.ModuleDict(
            {
                first: build_classifier(sum(shapes[step][1] for step in steps), architecture.classes)
                for first, steps in self._seen.items()
            }
        )

    def forward(self, images: Tensor, size: tuple[int, int]) -> Scores:
        maps = self.network.maps(images)
        combined = maps[self.network.plan.steps[-1].name]
        if combined.shape[2:] != size:
            combined = resize(combined, size) if self._upsampling is None else Resize.of(self._upsampling, size)(combined)
        scores = (head(_joined([maps[step] for step in self._seen[first]])) for first, head in self.heads.items())
        return Scores(combined, tuple(resize(found, size) for found in scores))


def _joined(maps: Sequence[Tensor]) -> Tensor:
    return maps[0] if len(maps) == 1 else torch.cat(list(maps), dim=1)


def _coarse_ends(plan: NetworkPlan) -> Sequence[Sequence[str]]:
    """The steps that end branches at a coarser resolution than the network's scores, one for each head."""
    shapes = map_shapes(plan)
    finest = shapes[plan.steps[-1].name][2]
    return [(step,) for step in plan.branch_ends if shapes[step][2] < finest]


def _seen(plan: NetworkPlan, architecture: ArchitectureSpec, heads: AuxiliaryHeads) -> Sequence[Sequence[str]]:
    """The steps whose maps each head sees."""
    if heads == "ends":
        return _coarse_ends(plan)
    if plan.auxiliary is None:
        raise InvalidSpecError(
            f"losses.auxiliary_heads is 'published', but nothing is published of such heads in space {architecture.space!r}",
            hint="Take 'ends'.",
        )
    return plan.auxiliary


def seeded_network(
    architecture: ArchitectureSpec, size: InputSize, *, auxiliary: bool, seed: int, auxiliary_heads: AuxiliaryHeads = "ends"
) -> TrainableNetwork:
    """With weights as torch initialises them, which follow from the seed; torch's own generators stay as they are."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return TrainableNetwork(architecture, size, auxiliary=auxiliary, auxiliary_heads=auxiliary_heads)
