"""Operators of several sources between prefixes and suffix, and alone."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch

from models.export.onnx_graph import to_onnx
from models.networks.module import build_module
from models.spec.graphs import ContextBase, GraphRequest
from models.spec.operators import OperatorSpec


def join(kind: str, channels: int, **attributes: Any) -> OperatorSpec:
    shape = {"in_channels": channels, "out_channels": channels, "height": 6, "width": 10}
    return OperatorSpec.parse({"kind": kind, "attributes": attributes, **shape})


def _nodes(subject: OperatorSpec | ContextBase) -> Counter[str]:
    request = GraphRequest(subject=subject, in_context=isinstance(subject, OperatorSpec))
    graph = to_onnx(build_module(request), request.input_shape, name="test").graph
    return Counter(node.op_type for node in graph.node)


@pytest.mark.parametrize(
    ("operator", "own"),
    [
        (join("add", 8, sources=3), {"Add": 2}),
        (join("scale", 8), {"Mul": 1}),
        (join("scale", 8, gate="pixel"), {"Mul": 1}),
    ],
    ids=["add", "scale", "scale-pixel"],
)
def test_a_context_has_the_launches_of_its_base_and_the_operators_own(operator: OperatorSpec, own: dict[str, int]) -> None:
    base = ContextBase.of(operator)
    assert _nodes(operator) - _nodes(base) == Counter(own)
    assert not _nodes(base) - _nodes(operator)
    with torch.inference_mode():
        x = torch.randn(base.input_shape, generator=torch.Generator().manual_seed(0))
        inside, alone = build_module(GraphRequest(subject=operator, in_context=True)), build_module(GraphRequest(subject=base))
        torch.testing.assert_close(inside(x)[:, 8:], alone(x)[:, 8:])  # what is not the join's output


def test_a_concatenation_is_compared_with_one_prefix_of_all_channels() -> None:
    operator = join("concat", 12, sources="8+3+1")
    plain = OperatorSpec(kind="conv3x3", in_channels=12, out_channels=4, height=6, width=10)
    assert ContextBase.of(operator) == ContextBase.of(plain)
    assert _nodes(operator) - _nodes(ContextBase.of(operator)) == Counter({"Conv": 2, "Concat": 1})


def test_an_isolated_join_takes_its_sources_from_one_input() -> None:
    x = torch.randn(1, 24, 6, 10, generator=torch.Generator().manual_seed(0))
    expected = {
        join("concat", 12, sources="8+3+1"): x[:, :12],
        join("add", 8, sources=3): x[:, :8] + x[:, 8:16] + x[:, 16:],
        join("scale", 12): x[:, :12] * x[:, :12, :1, :1],
        join("scale", 12, gate="pixel"): x[:, :12] * x[:, :1],
    }
    for operator, output in expected.items():
        request = GraphRequest(subject=operator)
        torch.testing.assert_close(build_module(request)(x[:, : request.input_shape[1]]), output)
