"""What an operator costs in arithmetic and weights, as data: counted on its module, or stated by its kind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from models.spec.operators import OperatorSpec


@dataclass(frozen=True)
class Costs:
    """Arithmetic and weights, for the batch of the spec they were counted for.

    FasterSeg uses two conventions, so both are counted. Its Table 1 counts only convolutions (1.21, 0.60, 0.30 G).
    Its Table 3 gives the published student 28.2 G, of which convolutions make up 27.8; how the rest was counted it does
    not say. Customary numbers for the other layers of the network as trained come to 28.19 G: for each element written,
    2 for batch normalisation (scale, shift), 1 for a ReLU, 4 for a bilinear resize (a weighted sum of four neighbours).

    Attributes:
        macs: multiply-adds of all layers, those others included; the published student has 28.2 G.
        convolution_macs: multiply-adds only of convolutions, linear layers and matrix products; the published
            student has 27.8 G.
        flops: (2·Cin·K² − 1)·H·W·Cout of each convolution, and so for the products. Source: M-FasterSeg eq. 19.
        parameters: weights and biases, those of batch normalisation included.
    """

    macs: int = 0
    convolution_macs: int = 0
    flops: int = 0
    parameters: int = 0

    def __add__(self, other: Costs) -> Costs:
        return Costs(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(self)))


CostsOf = Callable[["OperatorSpec"], Costs]
"""From an operator to its costs, at its batch."""
