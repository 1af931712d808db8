"""From logits to the probabilities that a latency is weighted with: in expectation, or as one sample."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from nas_client.errors import ParameterError

Relaxation = Callable[[Tensor], Tensor]
"""Logits (rows, choices) to weights of the same shape, each row summing to one."""


def expected(logits: Tensor) -> Tensor:
    """Softmax over each row: the latency becomes its expectation, without sampling noise."""
    return torch.softmax(logits, dim=-1)


@dataclass(frozen=True)
class Gumbel:
    """One choice per row, drawn with its softmax probability; gradients are those of the tempered softmax (straight-through).

    Attributes:
        temperature: τ of the softmax that the gradient sees; a small one is closer to the sample and noisier.
        generator: where the noise comes from, on the logits' device; torch's own by default.

    >>> sample = Gumbel(generator=torch.Generator().manual_seed(0))(torch.zeros(2, 5))
    >>> sample.sum(dim=1).tolist(), sample.max().item()
    ([1.0, 1.0], 1.0)

    Source: Jang et al., ICLR 2017; FasterSeg, Appendix F (τ = 1).

    Raises:
        ParameterError: the temperature is not positive and finite.
    """

    temperature: float = 1.0
    generator: torch.Generator | None = None

    def __post_init__(self) -> None:
        if not 0 < self.temperature < float("inf"):
            raise ParameterError(f"temperature {self.temperature} is not positive and finite", hint="FasterSeg uses 1.")

    def __call__(self, logits: Tensor) -> Tensor:
        """Shape: logits and sample (rows, choices); each row of the sample is one-hot."""
        # Minus the logarithm of an exponential variable is Gumbel-distributed.
        negative_noise = torch.empty_like(logits).exponential_(generator=self.generator).log_()
        soft = torch.softmax((logits - negative_noise) / self.temperature, dim=-1)
        chosen = soft.argmax(dim=-1, keepdim=True)
        hard = torch.zeros_like(soft).scatter_(-1, chosen, 1.0)
        return hard + (soft - soft.detach())
