"""What a supernet is to whoever trains it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from models.supernets.mixture import Mixture
from models.supernets.operators import MixedOperator

Combination = tuple[int, ...]
"""Which branches a prediction is made from, by the downsample rates at which they end, ascending."""


@dataclass(frozen=True, eq=False)
class Predictions:
    """Class scores. Shape of each: (N, classes, H, W), by default at the size of the images.

    Attributes:
        combined: by the branches that they come from.
        auxiliary: straight from the end of one branch, by its downsample rate; for training alone.
    """

    combined: Mapping[Combination, Tensor]
    auxiliary: Mapping[int, Tensor] = field(default_factory=dict)


class Supernet(nn.Module, ABC):
    """Every architecture of a search space over shared weights.

    Attributes:
        roles: who shares the weights; the first is the searched network itself. What is not shared, such as stems of different
            width, each role has of its own.
        combinations: the sets of branches that there are heads for.
    """

    roles: tuple[str, ...]
    combinations: tuple[Combination, ...]

    @abstractmethod
    def forward(
        self,
        images: Tensor,
        mixture: Mixture,
        *,
        role: str,
        combinations: Collection[Combination] | None = None,
        auxiliary: bool = False,
        size: tuple[int, int] | None = None,
    ) -> Predictions:
        """Predicts, computing what the asked combinations need and nothing else.

        Args:
            images: shape (N, 3, H, W); any size that the space's downsampling divides, not only the one it is profiled at.
            mixture: weights of operators and downsampling, and the widths; see `Mixture`.
            role: one of `roles`.
            combinations: of `combinations`; all where None.
            auxiliary: whether to predict from single branches too.
            size: height and width of the scores; the images' where None.
        """

    def compile_operators(self, **options: Any) -> None:
        """Compiles every mixed operator in place, on its first use.

        Operators rather than the whole: a pass has any of countless combinations of widths, an operator one of a few. Channels
        are symbolic, so that widths and operators share graphs, and a training run soon compiles nothing more.

        Args:
            options: of `torch.compile`.
        """
        for module in self.modules():
            if isinstance(module, MixedOperator):
                module.compile(dynamic=True, **options)
