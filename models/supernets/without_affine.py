"""Choices of an edge whose batch normalisation has no affine part, so that α alone scales them.

Source: DARTS' published code, whose search has the same.
"""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import nn

from models.spec.errors import InvalidSpecError
from models.spec.operators import OperatorSpec
from models.supernets.mixed_operators import PlainOperator


class WithoutAffine(PlainOperator):
    """The plain module of a kind on an edge of one width, without scales and shifts after batch normalisation.

    Shape: as the operator's.

    Args:
        spec: of the operator.
        in_channels, out_channels: widths of both ends, one each.

    Raises:
        InvalidSpecError: they are several.
    """

    def __init__(self, spec: OperatorSpec, in_channels: Collection[int], out_channels: Collection[int]) -> None:
        if len(in_channels) != 1 or len(out_channels) != 1:
            raise InvalidSpecError(
                f"operator kind {spec.kind!r} has no form for several widths ({len(in_channels)} enter, "
                f"{len(out_channels)} leave)",
                hint="Let the edge have one width.",
            )
        super().__init__(spec)
        for norm in _norms(self.operator):
            norm.affine = False
            norm.weight = norm.bias = None  # type: ignore[assignment]  # as torch has it where there is no affine part

    @torch.no_grad()
    def copy_to(self, operator: nn.Module) -> None:
        """Gives the fixed operator these weights, and an affine part that changes nothing."""
        operator.load_state_dict(self.operator.state_dict(), strict=False)
        for norm in _norms(operator):
            nn.init.ones_(norm.weight)
            nn.init.zeros_(norm.bias)


def _norms(module: nn.Module) -> list[nn.BatchNorm2d]:
    return [layer for layer in module.modules() if isinstance(layer, nn.BatchNorm2d)]
