from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from models.operators.costs import Costs, UncountedCostsError, counted_costs, module_costs, operator_costs
from models.spec.errors import InvalidSpecError
from models.spec.operators import OperatorSpec
from tests.support.own_kinds import attention_costs, own_kinds


def _costs(kind: str, *, in_channels: int = 256, out_channels: int = 256, stride: int = 1, **fields: Any) -> Costs:
    spec = OperatorSpec(
        kind=kind,
        in_channels=in_channels,
        out_channels=out_channels,
        height=32,
        width=64,
        stride=stride,
        batch=fields.pop("batch", 1),
        attributes=fields,
    )
    return operator_costs(spec)


@pytest.mark.parametrize(
    ("kind", "attributes", "giga", "mega"),
    [
        ("conv_bn_relu", {}, 1.21, 0.59),
        ("conv_bn_relu", {"groups": 2}, 0.60, 0.30),
        ("conv_bn_relu", {"dilation": 2}, 1.21, 0.59),
        ("zoomed_conv3x3", {}, 0.30, 0.59),
    ],
)
def test_table_1_of_fasterseg(kind: str, attributes: dict[str, int], giga: float, mega: float) -> None:
    """256 channels, 32×64, as published, but for the parameters of groups, printed as 0.29 (0.295), and the arithmetic of
    the dilated convolution, which had too little padding there and thus a smaller output (1.10)."""
    costs = _costs(kind, **attributes)
    assert round(costs.convolution_macs / 1e9, 2) == giga
    assert round(costs.parameters / 1e6, 2) == mega


def test_convolution_in_every_convention() -> None:
    costs = _costs("conv3x3", in_channels=8, out_channels=12, stride=2)
    pixels = 16 * 32
    assert costs.convolution_macs == 8 * 9 * 12 * pixels
    assert costs.flops == (2 * 8 * 9 - 1) * 12 * pixels
    assert costs.macs == costs.convolution_macs + (2 + 1) * 12 * pixels
    assert costs.parameters == 8 * 9 * 12 + 2 * 12


def test_resizing_counts_four_neighbours() -> None:
    zoomed, back = 16 * 32, 32 * 64
    costs = _costs("zoomed_conv3x3", in_channels=8, out_channels=12)
    resizes = 4 * (8 * zoomed + 12 * back)
    assert costs.macs - costs.convolution_macs == resizes + 2 * 12 * zoomed + 12 * back
    assert _costs("upsample", in_channels=3, out_channels=3, scale=2, resize="nearest") == Costs()


def test_an_identity_is_free() -> None:
    assert _costs("skip") == Costs()


def test_arithmetic_grows_with_the_batch_and_weights_do_not() -> None:
    one, four = _costs("conv3x3_x2"), _costs("conv3x3_x2", batch=4)
    assert (four.macs, four.convolution_macs, four.flops) == (4 * one.macs, 4 * one.convolution_macs, 4 * one.flops)
    assert four.parameters == one.parameters


def test_layers_without_weights_count_one_per_element() -> None:
    assert module_costs(nn.Sigmoid(), (2, 3, 5)) == Costs(macs=30)


class _Attention(nn.Module):
    """Products said by functions."""

    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(4, 6)
        self.back = nn.Parameter(torch.empty(6, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        queries = self.project(x)
        scores = torch.softmax(queries @ queries.transpose(1, 2), dim=-1)
        return functional.scaled_dot_product_attention(scores @ queries, queries, queries) @ self.back


def test_products_count_wherever_they_are_computed() -> None:
    with torch.device("meta"):
        costs = module_costs(_Attention(), (2, 5, 4))
    pixels = 2 * 5
    assert costs.convolution_macs == costs.macs == pixels * (4 * 6 + 4 * (5 * 6) + 6 * 4)
    assert costs.parameters == 4 * 6 + 6 + 6 * 4


def test_transposed_convolutions_and_pooling() -> None:
    module = nn.Sequential(nn.ConvTranspose2d(4, 6, 2, stride=2, bias=False), nn.MaxPool2d(3, 1, 1), nn.AdaptiveAvgPool2d(1))
    costs = module_costs(module.to("meta"), (1, 4, 5, 5))
    assert costs.convolution_macs == 25 * 4 * 6 * 4
    assert costs.macs - costs.convolution_macs == 6 * 100 * (9 + 1)


class _Gain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.gain


def test_a_layer_with_weights_that_cannot_be_counted_is_refused() -> None:
    with torch.device("meta"), pytest.raises(UncountedCostsError, match="_Gain"):
        module_costs(_Gain(), (1, 3))


@pytest.mark.parametrize("kind", ["attention", "attention_elsewhere"])
def test_a_kind_may_state_its_costs_as_a_function_or_where_one_is(kind: str) -> None:
    with own_kinds():
        spec = OperatorSpec(kind=kind, in_channels=4, out_channels=8, height=6, width=10)
        stated = operator_costs(spec)
        assert stated == attention_costs(spec)
        assert stated.convolution_macs == counted_costs(spec).convolution_macs


def test_a_kind_whose_costs_are_none_is_refused_by_name() -> None:
    with own_kinds():
        spec = OperatorSpec(kind="attention_at_no_cost", in_channels=4, out_channels=8, height=6, width=10)
        with pytest.raises(InvalidSpecError, match=r"the costs of operator kind 'attention_at_no_cost' are 7, no Costs"):
            operator_costs(spec)
