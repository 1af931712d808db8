"""The operator kinds as torch modules."""

import torch
from torch import Tensor, nn

from models.operators.layers import conv2d
from models.spec.operators import OperatorSpec


class Attention(nn.Module):
    """Every pixel looks at every other; added to the input. Each of its primitives has an emitter."""

    def __init__(self, spec: OperatorSpec) -> None:
        super().__init__()
        channels = spec.in_channels
        self.query, self.value = conv2d(channels, channels, 1), conv2d(channels, channels, 1)
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        query = self.query(x).flatten(2)
        weights = torch.softmax(query.transpose(1, 2) @ query / channels, dim=-1)
        seen = self.value(x).flatten(2) @ weights
        y: Tensor = self.bn(x + seen.reshape(batch, channels, height, width))
        return y


class Sweep(nn.Module):
    """A convolution, and of each row the running mean. `cumsum` has no emitter: torch.onnx exports this module."""

    def __init__(self, spec: OperatorSpec) -> None:
        super().__init__()
        self.convolution = conv2d(spec.in_channels, spec.out_channels, 3)
        self.bn = nn.BatchNorm2d(spec.out_channels)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.bn(self.convolution(x))
        return y + torch.cumsum(y, dim=-1) / x.shape[-1]
