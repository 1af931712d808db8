"""From the logits of a granularity to the probabilities that a latency is weighted with: in expectation, or as one sample."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nas_client.errors import ParameterError
from nas_client.latency.parameters import GroupShapes, choice_counts, stacked_shape

Relaxation = Callable[[Tensor], Tensor]
"""Logits (rows, choices) to weights of the same shape, each row summing to one."""


def expected(logits: Tensor) -> Tensor:
    """Softmax over each row: the latency becomes its expectation, without sampling noise."""
    return torch.softmax(logits, dim=-1)


@dataclass(frozen=True)
class Gumbel:
    """A sampler of one choice per row, by its softmax probability. Gradients are the tempered softmax's (straight-through).

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


class Choices(nn.Module):
    """Probabilities of one granularity, in which what a row does not offer has none.

    Args:
        groups: the groups' shapes, in order.
    """

    counts: Tensor
    unused: Tensor | None
    certain: Tensor

    def __init__(self, groups: GroupShapes) -> None:
        super().__init__()
        self.rows, self.most = stacked_shape(groups)
        self.register_buffer("counts", torch.tensor(choice_counts(groups), dtype=torch.int64), persistent=False)
        unused = torch.arange(self.most) >= self.counts[:, None]
        self.register_buffer("unused", unused if bool(unused.any()) else None, persistent=False)
        self.register_buffer("certain", torch.eye(1, self.most, dtype=torch.float64), persistent=False)

    def forward(self, logits: Tensor, relaxation: Relaxation = expected) -> Tensor:
        """Shape: logits and probabilities (rows, choices)."""
        if self.unused is not None:
            logits = logits.masked_fill(self.unused, -torch.inf)
        return relaxation(logits)

    def uniform(self) -> Tensor:
        """Every choice of a row equally likely. Shape: (rows, choices)."""
        return self.forward(self.certain.new_zeros(self.rows, self.most))

    def last(self) -> Tensor:
        """The last choice of every row certain: the widest, where choices are widths. Shape: (rows, choices)."""
        return nn.functional.one_hot(self.counts - 1, self.most).to(self.certain)

    def with_fixed(self, probabilities: Tensor) -> Tensor:
        """One row more, in which choice 0 is certain. It stands for what is not searched: a fixed width, a fixed operator.

        Shape: probabilities (rows, choices), result (rows + 1, choices).
        """
        return torch.cat((probabilities, self.certain))
