"""One granularity's choices: from logits to probabilities, and the fixed ones that decoupling uses."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nas_client.latency.parameters import GroupShapes, choice_counts, stacked_shape
from nas_client.latency.relaxation import Relaxation, expected


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
        """One row more, in which choice 0 is certain: it stands for whatever is not searched, such as a map of fixed width.

        Shape: probabilities (rows, choices), result (rows + 1, choices).
        """
        return torch.cat((probabilities, self.certain))
