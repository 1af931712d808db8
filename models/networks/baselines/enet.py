"""ENet. Source: Paszke et al., ENet: A Deep Neural Network Architecture for Real-Time Semantic Segmentation, 2016, table 1."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class ENet(nn.Module):
    """An encoder to 1/8 of bottlenecks (regular, dilated, asymmetric), and a small decoder that unpools with its maxima.

    Regularisation is dropout in training alone; PReLU in the encoder, ReLU in the decoder, as in the paper.

    Shape: (N, channels, H, W) to (N, classes, H, W); H and W divisible by 8.
    """

    def __init__(self, classes: int = 19, channels: int = 3) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, 16 - channels, 3, stride=2, padding=1, bias=False)
        self.first_norm = nn.Sequential(nn.BatchNorm2d(16), nn.PReLU(16))
        self.down1 = Downsampling(16, 64, dropout=0.01)
        self.stage1 = nn.Sequential(*(Bottleneck(64, dropout=0.01) for _ in range(4)))
        self.down2 = Downsampling(64, 128)
        self.stage2, self.stage3 = _dilated_stage(), _dilated_stage()
        self.up4 = Upsampling(128, 64)
        self.stage4 = nn.Sequential(Bottleneck(64, relu=True), Bottleneck(64, relu=True))
        self.up5 = Upsampling(64, 16)
        self.stage5 = Bottleneck(16, relu=True)
        self.head = nn.ConvTranspose2d(16, classes, 3, stride=2, padding=1, output_padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first_norm(torch.cat([self.first(x), functional.max_pool2d(x, 2)], dim=1))
        x, places1 = self.down1(x)
        x, places2 = self.down2(self.stage1(x))
        x = self.stage4(self.up4(self.stage3(self.stage2(x)), places2))
        logits: Tensor = self.head(self.stage5(self.up5(x, places1)))
        return logits


def _activation(channels: int, relu: bool) -> nn.Module:
    return nn.ReLU(inplace=True) if relu else nn.PReLU(channels)


def _part(conv: nn.Module, channels: int, *, relu: bool) -> list[nn.Module]:
    return [conv, nn.BatchNorm2d(channels), _activation(channels, relu)]


class Bottleneck(nn.Module):
    """A residual of 1×1, main and 1×1 convolution, a quarter of the channels inside. Shape: (N, channels, H, W), kept.

    Args:
        channels: of input and output.
        dilation: of the main convolution.
        asymmetric: whether that is 5×1 and 1×5.
        relu: whether activations are ReLU.
        dropout: of whole channels, in training.
    """

    def __init__(
        self, channels: int, *, dilation: int = 1, asymmetric: bool = False, relu: bool = False, dropout: float = 0.1
    ) -> None:
        super().__init__()
        inner = channels // 4
        if asymmetric:
            main: nn.Module = nn.Sequential(
                nn.Conv2d(inner, inner, (5, 1), padding=(2, 0), bias=False),
                nn.Conv2d(inner, inner, (1, 5), padding=(0, 2), bias=False),
            )
        else:
            main = nn.Conv2d(inner, inner, 3, padding=dilation, dilation=dilation, bias=False)
        self.body = nn.Sequential(
            *_part(nn.Conv2d(channels, inner, 1, bias=False), inner, relu=relu),
            *_part(main, inner, relu=relu),
            nn.Conv2d(inner, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
            nn.Dropout2d(dropout),
        )
        self.out = _activation(channels, relu)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.out(x + self.body(x))
        return y


class Downsampling(nn.Module):
    """The bottleneck that halves the sides: maxima, padded with zero channels, plus a strided branch.

    Shape: (N, in_channels, H, W) to (N, out_channels, H/2, W/2) and the maxima's places, (N, in_channels, H/2, W/2).
    """

    def __init__(self, in_channels: int, out_channels: int, *, dropout: float = 0.1) -> None:
        super().__init__()
        inner = in_channels // 4
        self.added = out_channels - in_channels
        self.body = nn.Sequential(
            *_part(nn.Conv2d(in_channels, inner, 2, stride=2, bias=False), inner, relu=False),
            *_part(nn.Conv2d(inner, inner, 3, padding=1, bias=False), inner, relu=False),
            nn.Conv2d(inner, out_channels, 1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.Dropout2d(dropout),
        )
        self.out = nn.PReLU(out_channels)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        maxima, places = functional.max_pool2d(x, 2, return_indices=True)
        padded = functional.pad(maxima, (0, 0, 0, 0, 0, self.added))
        return self.out(padded + self.body(x)), places


class Upsampling(nn.Module):
    """The bottleneck that doubles the sides: maxima unpooled to their places, plus a transposed branch.

    Shape: (N, in_channels, H, W) and places (N, out_channels, H, W) to (N, out_channels, 2·H, 2·W).
    """

    def __init__(self, in_channels: int, out_channels: int, *, dropout: float = 0.1) -> None:
        super().__init__()
        inner = in_channels // 4
        self.main = nn.Sequential(nn.Conv2d(in_channels, out_channels, 1, bias=False), nn.BatchNorm2d(out_channels))
        self.body = nn.Sequential(
            *_part(nn.Conv2d(in_channels, inner, 1, bias=False), inner, relu=True),
            *_part(nn.ConvTranspose2d(inner, inner, 2, stride=2, bias=False), inner, relu=True),
            nn.Conv2d(inner, out_channels, 1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.Dropout2d(dropout),
        )

    def forward(self, x: Tensor, places: Tensor) -> Tensor:
        return functional.relu(unpooled(self.main(x), places) + self.body(x))


def unpooled(x: Tensor, places: Tensor) -> Tensor:
    """Each value at its place of a map twice as high and wide, zero elsewhere: `max_unpool2d`, as a scatter that exports.

    Shape: values and places (N, C, H, W), places counted over a map of 2·H × 2·W; output (N, C, 2·H, 2·W).
    """
    n, c, h, w = x.shape
    flat = x.new_zeros((n, c, 4 * h * w))
    return flat.scatter(2, places.reshape(n, c, h * w), x.reshape(n, c, h * w)).reshape(n, c, 2 * h, 2 * w)


def _dilated_stage() -> nn.Sequential:
    """Eight bottlenecks: regular, dilated 2, asymmetric, dilated 4, regular, dilated 8, asymmetric, dilated 16."""
    return nn.Sequential(
        *(
            block
            for pair in ((2, 4), (8, 16))
            for block in (
                Bottleneck(128),
                Bottleneck(128, dilation=pair[0]),
                Bottleneck(128, asymmetric=True),
                Bottleneck(128, dilation=pair[1]),
            )
        )
    )
