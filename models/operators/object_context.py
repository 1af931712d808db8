"""The OCR head: every pixel is described by the objects of the image that it resembles."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.operators.layers import ConvBnRelu
from models.spec.operators import OperatorSpec


class ObjectContextHead(nn.Module):
    """Class scores of pixels and of the object regions around them.

    First scores of each class, normalised over the pixels, make one vector for each class: its object region. Each pixel then
    attends to the regions, and is classified by itself and what it found. The first scores are not an output, so that no loss
    of their own trains them, as it does in the source.

    Shape: input (N, in_channels, H, W); output (N, out_channels, H, W), out_channels being the classes.

    Source: Yuan, Chen, Wang, "Object-Contextual Representations for Semantic Segmentation", 2020, eqs. 1 to 5; layers as in its
    published code for HRNet, without dropout.
    """

    def __init__(self, spec: OperatorSpec) -> None:
        super().__init__()
        channels, classes = spec.in_channels, spec.out_channels
        wide, narrow = int(spec.attributes["channels"]), int(spec.attributes["keys"])
        self.regions = nn.Sequential(ConvBnRelu(channels, channels, 1), nn.Conv2d(channels, classes, 1))
        self.pixels = ConvBnRelu(channels, wide, 3)
        self.query = nn.Sequential(ConvBnRelu(wide, narrow, 1), ConvBnRelu(narrow, narrow, 1))
        self.key = nn.Sequential(ConvBnRelu(wide, narrow, 1), ConvBnRelu(narrow, narrow, 1))
        self.value = ConvBnRelu(wide, narrow, 1)
        self.context = ConvBnRelu(narrow, wide, 1)
        self.fusion = ConvBnRelu(2 * wide, wide, 1)
        self.classify = nn.Conv2d(wide, classes, 1)
        self.narrow = narrow
        self.scale = narrow**-0.5

    def forward(self, x: Tensor) -> Tensor:
        batch, _, height, width = x.shape
        pixels = self.pixels(x)
        shares = torch.softmax(self.regions(x).flatten(2), dim=2)  # (N, classes, pixels)
        objects = (shares @ pixels.flatten(2).transpose(1, 2)).transpose(1, 2).unsqueeze(3)  # (N, wide, classes, 1)
        relation = self.query(pixels).flatten(2).transpose(1, 2) @ self.key(objects).flatten(2)
        weights = torch.softmax(relation * self.scale, dim=2)  # (N, pixels, classes)
        found = (weights @ self.value(objects).flatten(2).transpose(1, 2)).transpose(1, 2)
        context = self.context(found.reshape(batch, self.narrow, height, width))
        scores: Tensor = self.classify(self.fusion(torch.cat([context, pixels], dim=1)))
        return scores
