"""Operator kinds of somebody's own: some that can be measured, and some that cannot. Importing this registers none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor, nn

from models.spec.bounds import Bounds, Sizes
from models.spec.costs import Costs
from models.spec.kinds import KINDS, KindInfo, register_kind
from models.spec.operators import OperatorSpec


class Attention(nn.Module):
    """Every pixel looks at every other: products and a softmax, which our emitters write."""

    def __init__(self, spec: OperatorSpec) -> None:
        super().__init__()
        self.queries = nn.Conv2d(spec.in_channels, spec.in_channels, 1)
        self.project = nn.Conv2d(spec.in_channels, spec.out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        queries = self.queries(x).flatten(2)
        scores = torch.softmax(queries.transpose(1, 2) @ queries / c**0.5, dim=-1)
        y: Tensor = self.project((queries @ scores.transpose(1, 2)).view(b, c, h, w))
        return y


def attention_bounds(sizes: Sizes) -> Bounds:
    channels, pixels = sizes.in_channels, sizes.in_pixels
    return Bounds(
        weights=(channels + 1) * (channels + sizes.out_channels),
        inner=sizes.batch * pixels * (pixels + channels),
        macs=sizes.batch * pixels * channels * (channels + 2 * pixels + sizes.out_channels),
    )


def attention_costs(operator: OperatorSpec) -> Costs:
    pixels, channels, leaving = operator.height * operator.width, operator.in_channels, operator.out_channels
    macs = operator.batch * pixels * channels * (channels + 2 * pixels + leaving)
    outputs = operator.batch * pixels * (2 * channels + pixels + leaving)
    return Costs(macs, macs, 2 * macs - outputs, (channels + 1) * (channels + leaving))


class Grouped(nn.Module):
    """Group normalisation and PReLU have no emitter; the gain is computed when the module is made."""

    def __init__(self, spec: OperatorSpec) -> None:
        super().__init__()
        self.conv = nn.Conv2d(spec.in_channels, spec.out_channels, 3, stride=spec.stride, padding=1)
        self.norm, self.groups, self.relu = nn.BatchNorm2d(spec.out_channels), nn.GroupNorm(2, spec.out_channels), nn.PReLU()
        self.register_buffer("gain", torch.linspace(0.5, 1.5, spec.out_channels)[:, None, None])

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.relu(self.groups(self.norm(self.conv(x)))) * self.gain
        return y


class _Bad(nn.Module):
    def __init__(self, spec: OperatorSpec) -> None:
        super().__init__()
        self.conv = nn.Conv2d(spec.in_channels, spec.out_channels, 1, stride=spec.stride)


class Random(_Bad):
    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return y + torch.rand(1)


class TwoOutputs(_Bad):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.conv(x), x


class DataDependent(_Bad):
    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return y[y > 0]


class Branching(_Bad):
    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return y + 1 if y.sum() > 0 else y


class Endless(_Bad):
    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x) / 0
        return y


def huge(_spec: OperatorSpec) -> nn.Module:
    return nn.Sequential(nn.Conv2d(8, 40_000, 1), nn.Conv2d(40_000, 40_000, 1), nn.Conv2d(40_000, 12, 1))


_HERE = "tests.support.own_kinds:"
OWN_KINDS = (
    KindInfo("attention", strides=(1,), builder=_HERE + "Attention", bounds=attention_bounds, costs=attention_costs),
    KindInfo("attention_elsewhere", builder=_HERE + "Attention", costs=_HERE + "attention_costs"),
    KindInfo("attention_at_no_cost", builder=_HERE + "Attention", costs=lambda operator: 7),  # type: ignore[arg-type,return-value]
    KindInfo("grouped", strides=(1,), builder=_HERE + "Grouped"),
    *(
        KindInfo(name.lower(), builder=_HERE + name)
        for name in ("Random", "TwoOutputs", "DataDependent", "Branching", "Endless", "huge")
    ),
)


@contextmanager
def own_kinds() -> Iterator[None]:
    """Within it these kinds are known."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("_loaded", "_registered", "_digests"):
            patch.setattr(KINDS, name, dict(getattr(KINDS, name)))
        for kind in OWN_KINDS:
            register_kind(kind)
        yield
