"""A network as data: which operator or junction takes which feature maps. Spaces write plans; torch modules, sums of table
entries and costs are all read off the same plan, so that they cannot disagree. No torch here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from models.spec.operators import OperatorSpec

INPUT = "input"
"""Name of the network's input map."""


@dataclass(frozen=True)
class OperatorStep:
    """One operator, applied to one earlier map. Charged: its table entry is part of an estimate.

    `cell`: where it stands in its branch, counted from 0; None where it is no cell, but of the stem or head.
    """

    name: str
    operator: OperatorSpec
    source: str
    cell: int | None = None


@dataclass(frozen=True)
class JoinStep:
    """Brings several maps together: `concat` over channels or `add`. Not charged: it has no table entry of its own.

    `size`: (height, width) to which every source of another size is first resized (bilinear, align_corners).
    """

    name: str
    how: Literal["concat", "add"]
    sources: tuple[str, ...]
    size: tuple[int, int]


Step = OperatorStep | JoinStep


@dataclass(frozen=True)
class NetworkPlan:
    """Steps in an order in which every source comes first; the last step is the output.

    Shape: input (batch, channels, height, width) as of the steps that read `INPUT`.

    Attributes:
        steps: in that order.
        branch_ends: names of the steps whose maps end the branches: where a training may look at one branch alone.
    """

    steps: tuple[Step, ...]
    branch_ends: tuple[str, ...] = ()

    def operators(self) -> Iterator[OperatorSpec]:
        """The operator of each charged step, in order, repeats included: the terms of an estimate."""
        return (step.operator for step in self.steps if isinstance(step, OperatorStep))
