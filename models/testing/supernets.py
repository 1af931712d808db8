"""What tests of supernets share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from models.spaces.base import ParameterShapes
from models.supernets.base import Mixture

Module = TypeVar("Module", bound=nn.Module)


@dataclass(frozen=True)
class Logits:
    """Leaves of the autograd graph, one row per row of the space's parameters."""

    alpha: Tensor
    beta: Tensor
    gamma: Tensor

    def mixture(self) -> Mixture:
        """Softmax of α and β, the likeliest widths straight-through."""
        soft = self.gamma.softmax(-1)
        hard = torch.nn.functional.one_hot(soft.argmax(-1), soft.shape[-1]) + (soft - soft.detach())
        return Mixture.sampled(self.alpha.softmax(-1), self.beta.softmax(-1), hard)


@torch.no_grad()
def disturb(module: Module) -> Module:
    """Gives batch normalisation statistics and factors that differ from channel to channel, so that a mix-up shows."""
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            assert layer.running_mean is not None
            assert layer.running_var is not None
            if layer.affine:
                layer.weight.uniform_(0.5, 1.5)
                layer.bias.normal_(std=0.2)
            layer.running_mean.normal_(std=0.2)
            layer.running_var.uniform_(0.5, 1.5)
    return module


def certain(
    shapes: ParameterShapes, rng: np.random.Generator, *, without: int | None = None
) -> dict[str, dict[str, np.ndarray]]:
    """A random choice in every row, as probabilities of 0 and 1; `without`: an operator never chosen."""
    rows: dict[str, dict[str, np.ndarray]] = {}
    for granularity, groups in shapes.items():
        rows[granularity] = {}
        for group, (count, choices) in groups.items():
            allowed = [c for c in range(choices) if granularity != "alpha" or c != without]
            rows[granularity][group] = np.eye(choices)[rng.choice(allowed, size=count)]
    return rows


def mixture_of(probabilities: dict[str, dict[str, np.ndarray]], dtype: torch.dtype = torch.float32) -> Mixture:
    """The mixture of given probabilities, with the likeliest widths."""

    def stacked(groups: dict[str, np.ndarray]) -> torch.Tensor:
        """All rows, the shorter ones filled up with zeros."""
        most = max((rows.shape[1] for rows in groups.values()), default=1)
        filled = [np.pad(rows, ((0, 0), (0, most - rows.shape[1]))) for rows in groups.values()]
        return torch.from_numpy(np.concatenate([np.zeros((0, most)), *filled])).to(dtype)

    return Mixture.sampled(*(stacked(probabilities[name]) for name in ("alpha", "beta", "gamma")))


def random_logits(shapes: ParameterShapes, seed: int = 1) -> Logits:
    """Standard normal ones."""
    generator = torch.Generator().manual_seed(seed)

    def draw(granularity: str) -> Tensor:
        groups = shapes[granularity].values()
        shape = (sum(rows for rows, _ in groups), next(iter(groups))[1])
        return torch.randn(shape, generator=generator).requires_grad_()

    return Logits(draw("alpha"), draw("beta"), draw("gamma"))
