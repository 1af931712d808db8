"""What a supernet is: the mixture that one forward pass computes, the predictions, and the abstract class."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.networks.graph_plan import GraphChoices
from models.networks.structure import Edge, LatencyGraph, Selection
from models.supernets.mixed_operators import MixedOperator


@dataclass(frozen=True, eq=False)
class Mixture:
    """Weights of operators and of downsampling, and one width for each map. Rows are those of a `LatencyGraph`.

    Nothing here belongs to the supernet: teacher and student, or the widths of successive passes, are different mixtures over
    the same weights.

    Attributes:
        alpha: probabilities of operators; shape (rows, choices).
        beta: probabilities of where a map comes from; shape (rows, choices).
        widths: index of each γ row's width; the only one that is computed.
        scores: a factor for each searched map, 1 in value, through which γ gets gradients; shape (rows,). None where γ is not
            trained.
        operators: index of each α row's operator, where operators are decided: the only one that is computed. None for a row
            that is still a mixture; None as a whole where all are.
        chosen: the one operator and path of each row, where the mixture is a single network: a supernet then computes nothing
            else. None where it is a mixture.
        both_ends: whether an edge is multiplied with the scores of both of its maps, as in FasterSeg's published code, or with
            that of the map it leads to alone.
    """

    alpha: Tensor
    beta: Tensor
    widths: tuple[int, ...]
    scores: Tensor | None = None
    operators: tuple[int | None, ...] | None = None
    both_ends: bool = False
    chosen: GraphChoices | None = None

    @classmethod
    def single(cls, choices: GraphChoices, counts: Mapping[str, Sequence[int]], device: torch.device | str = "cpu") -> Self:
        """One network.

        Args:
            choices: of its rows.
            counts: by granularity, how many choices each row has.
            device: of the supernet.
        """

        def rows(chosen: Sequence[int], of: Sequence[int]) -> Tensor:
            return functional.one_hot(torch.tensor(chosen, dtype=torch.int64), max(of, default=1)).float().to(device)

        alpha, beta = rows(choices.alpha, counts["alpha"]), rows(choices.beta, counts["beta"])
        return cls(alpha, beta, choices.gamma, chosen=choices)

    def takes(self, selection: Selection | None) -> bool:
        """Whether what β selects so is part of any of its networks."""
        return self.chosen is None or self.chosen.selects(selection)

    @classmethod
    def sampled(cls, alpha: Tensor, beta: Tensor, gamma: Tensor, *, both_ends: bool = False) -> Self:
        """With widths as one sample: `gamma` has one 1 per row, and gradients of its own (straight-through).

        Shape: each (rows, choices). Source: FasterSeg, Appendix C.
        """
        chosen = gamma.argmax(dim=-1)
        return cls(alpha, beta, tuple(chosen.tolist()), gamma.gather(-1, chosen[:, None]).squeeze(-1), both_ends=both_ends)

    def decided(self, edge: Edge) -> int | None:
        """The choice of that edge, where its operator is decided."""
        if edge.operator_row is None:
            return None if self.chosen is None else 0
        operators = self.operators if self.chosen is None else self.chosen.alpha
        return None if operators is None else operators[edge.operator_row]

    def channels(self, graph: LatencyGraph, node: int) -> int:
        """Channels of that map."""
        channels, row = graph.nodes[node].channels, graph.nodes[node].width_row
        return channels[0] if row is None else channels[self.widths[row]]

    def operator_weights(self, graph: LatencyGraph, edge: Edge, *, selected: bool = True) -> Tensor:
        """Factor of each choice of an edge, the scores included, and downsampling's if `selected`.

        Shape: (choices,).
        """
        weights = self.alpha.new_ones(1) if edge.operator_row is None else self.alpha[edge.operator_row]
        if selected and edge.selection is not None:
            weights = weights * taken(self.beta, edge.selection)
        if self.scores is None:
            return weights
        for node in (edge.destination, edge.source)[: 1 + self.both_ends]:
            row = graph.nodes[node].width_row
            if row is not None:
                weights = weights * self.scores[row]
        return weights


def taken(beta: Tensor, selection: Selection) -> Tensor:
    """The probability of one of these choices of β, a scalar. Shape: beta (rows, choices)."""
    row, choices = selection
    return beta[row, choices[0]] if len(choices) == 1 else beta[row, list(choices)].sum()


@dataclass(frozen=True, eq=False)
class Predictions:
    """Class scores. Shape of each: (N, classes, H, W), by default at the size of the images.

    Attributes:
        combined: by the label of the alternative that they are of (`SearchSpace.alternatives`).
        auxiliary: straight from the end of one branch, by its downsample rate; only for training.
    """

    combined: Mapping[str, Tensor]
    auxiliary: Mapping[int, Tensor] = field(default_factory=dict)


class Supernet(nn.Module, ABC):
    """Every architecture of a search space over shared weights.

    Attributes:
        roles: who shares the weights; the first is the searched network itself. What is not shared, such as stems of different
            width, each role has of its own.
        alternatives: labels of what there are heads for; one empty label where there is nothing to choose.
    """

    roles: tuple[str, ...]
    alternatives: tuple[str, ...]

    @abstractmethod
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
        """Predicts, and computes only what the requested alternatives need.

        Args:
            images: shape (N, 3, H, W); any size that the space's downsampling divides, not only the one it is profiled at.
            mixture: weights of operators and downsampling, and the widths; see `Mixture`.
            role: one of `roles`.
            alternatives: of `alternatives`; all where None.
            auxiliary: whether to predict from single branches too.
            size: height and width of the scores; the images' where None.
        """

    def path_logits(self) -> Tensor | None:
        """What statistics that the supernet keeps say of the choices of β, to be added to the logits; shape (rows, choices).
        None where it keeps none.
        """
        return None

    def merge_statistics(self, sum_in_place: Callable[[Sequence[Tensor]], None]) -> None:
        """Called after each training step: take what its passes saw into the statistics.

        Args:
            sum_in_place: replaces tensors by their sums over all processes.
        """

    def compile_operators(self, **options: Any) -> None:
        """Compiles every mixed operator in place, on its first use.

        Operators, not the network: a pass has one of countless combinations of widths, an operator one of few. Channels
        are symbolic, so that widths and operators share graphs, and a training run soon compiles nothing more.

        Args:
            options: of `torch.compile`.
        """
        for module in self.modules():
            if isinstance(module, MixedOperator):
                module.compile(dynamic=True, **options)
