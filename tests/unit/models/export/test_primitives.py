"""Primitives that our own kinds do not use, as graphs that another runtime computes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnx
import pytest
import torch
from onnx import TensorProto
from onnx.reference import ReferenceEvaluator
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - as everybody calls it

from models.export.onnx_graph import to_onnx
from models.operators.seeded_weights import random_input

SHAPE = (2, 4, 6, 8)


class Computes(nn.Module):
    """A module without layers of its own."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "arithmetic": lambda x: (1 - x) * 2 / (x.sigmoid() + 0.5) - torch.mul(x, x),
    "in_place_operators": lambda x: _in_place(x),
    "extremes": lambda x: torch.maximum(x, 0.5 * x) + torch.min(x, -x) + x.max(dim=1, keepdim=True).values,
    "of_one_dimension": lambda x: torch.max(x, 1, keepdim=True)[0] * x.min(3, keepdim=True).values,
    "of_everything": lambda x: x * torch.max(x) + x.min(),
    "clamped": lambda x: x.clamp(-0.5, 0.5) + torch.clamp(x, min=0.1),
    "means": lambda x: x.mean((2, 3), keepdim=True) * x + torch.mean(x, dim=1, keepdim=True) + x.mean(),
    "sums": lambda x: x.sum(-1) - torch.sum(x, dim=[1], keepdim=True)[..., 0],
    "largest": lambda x: torch.amax(x, dim=(2, 3)) + x.amin(dim=(2, 3)),
    "slices": lambda x: x[:, 1:3, ::2, -3:] + x[:, 0, None, ::2, 1:4] + x[..., :3][:, -2:, 1::2],
    "one_of_a_dimension": lambda x: x[0] - x[-1],
    "halves": lambda x: _halves(x),
    "parts": lambda x: torch.cat(torch.split(x, [1, 3], 1)[::-1], 1) + x.split(2, dim=2)[1][:, :, :1],
    "padded": lambda x: F.pad(x, (1, 2, 0, 1)) + F.pad(x, (1, 2, 1, 0), value=0.5) + F.pad(x, (2, 1, 1, 0), mode="reflect"),
    "edges_repeated": lambda x: F.pad(x, (1, 1, 0, 2), mode="replicate"),
    "pooled": lambda x: F.max_pool2d(x, 3, 2, 1) + F.avg_pool2d(x, 2) + F.adaptive_avg_pool2d(x, (3, 4)),
    "gate": lambda x: x * F.hardsigmoid(F.adaptive_avg_pool2d(x, 1)) + F.silu(x) + F.hardswish(x) + F.relu6(x) + x.tanh(),
    "resized": lambda x: F.interpolate(x, scale_factor=2, mode="bilinear") + F.interpolate(x, size=(12, 16)),
    "attention": lambda x: _attention(x),
    "fused_attention": lambda x: F.scaled_dot_product_attention(x, 0.5 * x, x),
    "shapes": lambda x: x.view(x.size(0), -1, x.shape[3] // 2).permute(0, 2, 1).unsqueeze(1).squeeze(1).transpose(1, 2),
    "expanded": lambda x: x.mean(1, keepdim=True).expand(-1, 3, -1, -1) - x.mean((1, 2), keepdim=True).expand(2, 3, 6, 8),
    "constants": lambda x: x + torch.arange(4.0).view(1, 4, 1, 1) * torch.ones(8),
}

LAYERS: dict[str, nn.Module] = {
    "linear": nn.Linear(8, 3),
    "transposed_convolution": nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2, dilation=2),
    "pooling": nn.Sequential(nn.MaxPool2d(3, 1, 1), nn.AvgPool2d(3, 1, 1, count_include_pad=False), nn.AvgPool2d(2, 2, 1)),
    "global_maximum": nn.Sequential(nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(4, 5)),
    "unfolded_normalisation": nn.Sequential(nn.ReLU(), nn.BatchNorm2d(4)),
    "folded_without_scale": nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4, affine=False)),
    "layer_normalisation": nn.LayerNorm(8),
    "activations": nn.Sequential(nn.Hardswish(), nn.SiLU(), nn.ReLU6(), nn.Tanh(), nn.Hardsigmoid(), nn.Softmax(1)),
    "padding": nn.Sequential(nn.ZeroPad2d(1), nn.ReflectionPad2d((1, 0, 2, 1)), nn.ReplicationPad2d(1), nn.Dropout(0.5)),
}


def _in_place(x: Tensor) -> Tensor:
    y = x.relu()
    y += 1
    y *= x
    return y


def _halves(x: Tensor) -> Tensor:
    left, right = x.chunk(2, dim=1)
    return torch.cat([right.relu(), left], dim=1)


def _attention(x: Tensor) -> Tensor:
    b, c, h, w = x.shape
    queries = x.flatten(2).transpose(1, 2)
    scores = torch.softmax(queries @ x.reshape(b, c, h * w) / c**0.5, dim=-1)
    return torch.bmm(scores, queries).transpose(1, 2).reshape(b, c, h, w)


def _seeded(layer: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    for part in layer.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.running_mean)  # type: ignore[arg-type]
            nn.init.uniform_(part.running_var, 0.5, 2)  # type: ignore[arg-type]
    return layer.eval()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_of_torch(name: str, relative_error: Any) -> None:
    assert relative_error(Computes(FUNCTIONS[name]), SHAPE) <= 1e-5


@pytest.mark.parametrize("name", LAYERS)
def test_layers_of_torch(name: str, relative_error: Any) -> None:
    assert relative_error(_seeded(LAYERS[name]), SHAPE) <= 1e-5


@pytest.mark.parametrize("name", ["means", "extremes", "attention", "gate"])
def test_in_the_newer_operator_set_of_bfloat16(name: str) -> None:
    """Reductions take their axes in another way there."""
    model = to_onnx(Computes(FUNCTIONS[name]), SHAPE, dtype="bfloat16", name="test")
    onnx.checker.check_model(model, full_check=True)
    given = torch.from_numpy(random_input(SHAPE, "test")).bfloat16()
    array = given.float().numpy().astype(onnx.helper.tensor_dtype_to_np_dtype(TensorProto.BFLOAT16))
    found = torch.from_numpy(ReferenceEvaluator(model).run(None, {"input": array})[0].astype("float32"))
    expected = FUNCTIONS[name](given.float())
    assert (found - expected).norm() <= 3e-2 * expected.norm()


def test_what_needs_no_input_is_computed_once() -> None:
    model = to_onnx(Computes(FUNCTIONS["constants"]), SHAPE, name="test")
    assert [node.op_type for node in model.graph.node] == ["Add"]
