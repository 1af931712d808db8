"""The skip connection of a cell."""

from __future__ import annotations

from torch import nn

from models.operators.convolution import ConvBnRelu
from models.operators.registry import register
from models.spec.operators import OperatorSpec


@register("skip")
def _skip(spec: OperatorSpec) -> nn.Module:
    """The identity where shapes allow; else a 1×1 convolution with the stride, batch normalisation, ReLU.

    Source: FasterSeg §3.1; its code calls the second form FactorizedReduce.
    """
    if spec.input_shape == spec.output_shape:
        return nn.Identity()
    return ConvBnRelu(spec.in_channels, spec.out_channels, kernel=1, stride=spec.stride)
