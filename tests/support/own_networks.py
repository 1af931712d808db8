"""Networks of somebody's own: a torch module that can be measured, and modules that cannot."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.operators.seeded_weights import fill


class Net(nn.Module):
    """Convolution, batch normalisation, sigmoid, convolution. Shape: (N, 3, H, W) to (N, 4, H/2, W/2)."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, 2, 1)
        self.norm = nn.BatchNorm2d(8)
        self.last = nn.Conv2d(8, 4, 1)

    def forward(self, images: Tensor) -> Tensor:
        return self.last(torch.sigmoid(self.norm(self.first(images))))


class TwoOutputs(Net):
    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        output = super().forward(images)
        return output, output


class DataDependentShape(Net):
    def forward(self, images: Tensor) -> Tensor:
        output = super().forward(images)
        return output[output > 0]


class Random(Net):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) + torch.rand(1)


class NotFinite(Net):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) / torch.zeros(1)


class Branching(Net):
    def forward(self, images: Tensor) -> Tensor:
        output = super().forward(images)
        return output + 1 if output.sum() > 0 else output


class NeedsArguments(Net):
    def __init__(self, classes: int) -> None:
        super().__init__()


class Failing(Net):
    def __init__(self) -> None:
        super().__init__()
        raise RuntimeError("no weights here")


class Half(Net):
    def __init__(self) -> None:
        super().__init__()
        self.half()


INSTANCE = Net()
NUMBER = 3


def a_number() -> int:
    return NUMBER


def shared_convolutions() -> tuple[nn.Sequential, ...]:
    """One convolution that runs twice: before a norm for each run, before one norm, once without. Shape: (N, 3, H, W)."""
    conv, norm, other = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3), nn.BatchNorm2d(3)
    orders = ((conv, norm, conv, other), (conv, norm, conv, norm), (conv, norm, nn.Sigmoid(), conv))
    for number, layers in enumerate(orders):
        fill(nn.Sequential(*layers), str(number))
    return tuple(nn.Sequential(*layers).eval() for layers in orders)
