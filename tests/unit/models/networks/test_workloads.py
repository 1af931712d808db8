from __future__ import annotations

import pytest
import torch

from models.networks.module import build_module
from models.networks.structure import INPUT, NetworkPlan, OperatorStep
from models.operators.seeded_weights import random_input
from models.spec.architectures import ArchitectureSpec
from models.spec.errors import InvalidSpecError
from models.spec.graphs import PREFIX_CHANNELS, ContextBase, GraphRequest
from models.spec.operators import OperatorSpec

SPEC = OperatorSpec(kind="zoomed_conv3x3", in_channels=12, out_channels=20, height=8, width=10)
LAST = OperatorSpec(kind="upsample", in_channels=12, out_channels=12, height=8, width=10, attributes={"scale": 2})
ARCHITECTURE = ArchitectureSpec(space="any", input_size=(8, 10), genotype={"operators": ["conv3x3"]})


def _input(request: GraphRequest) -> torch.Tensor:
    return torch.from_numpy(random_input(request.input_shape, request.key()))


def test_an_operator_has_the_same_weights_alone_and_in_context() -> None:
    alone = build_module(GraphRequest(subject=SPEC))
    request = GraphRequest(subject=SPEC, in_context=True)
    context = build_module(request)
    x = _input(request)
    with torch.no_grad():
        expected = alone(context.prefix(x)).mean(dim=(2, 3), keepdim=True)
        torch.testing.assert_close(context(x), expected)


def test_a_context_has_the_prefix_of_its_base() -> None:
    base = build_module(GraphRequest(subject=ContextBase.of(SPEC)))
    context = build_module(GraphRequest(subject=SPEC, in_context=True))
    assert base.prefix.weight.shape == (SPEC.in_channels, PREFIX_CHANNELS, 1, 1)
    assert torch.equal(base.prefix.weight, context.prefix.weight)
    assert torch.equal(base.prefix.bias, context.prefix.bias)


@pytest.mark.parametrize(
    ("request_", "output_shape"),
    [
        (GraphRequest(subject=SPEC), (1, 20, 8, 10)),
        (GraphRequest(subject=SPEC, in_context=True), (1, 20, 1, 1)),
        (GraphRequest(subject=LAST, in_context=True), (1, 12, 16, 20)),
        (GraphRequest(subject=ContextBase.of(SPEC)), (1, 12, 1, 1)),
    ],
    ids=lambda value: value.label() if isinstance(value, GraphRequest) else "",
)
def test_shapes(request_: GraphRequest, output_shape: tuple[int, ...]) -> None:
    module = build_module(request_)
    assert not module.training
    with torch.no_grad():
        assert tuple(module(_input(request_)).shape) == output_shape


def test_an_architecture_is_built_from_its_plan() -> None:
    operator = OperatorSpec(kind="conv3x3", in_channels=3, out_channels=19, height=8, width=10)
    request = GraphRequest(subject=ARCHITECTURE)
    module = build_module(request, NetworkPlan((OperatorStep("only", operator, INPUT),)))
    with torch.no_grad():
        assert tuple(module(_input(request)).shape) == (1, 19, 8, 10)


def test_an_architecture_without_a_plan_is_refused() -> None:
    with pytest.raises(InvalidSpecError, match="without its plan"):
        build_module(GraphRequest(subject=ARCHITECTURE))


def test_a_narrow_float_changes_the_graph_and_not_the_module() -> None:
    """The module is what engines of every dtype are compared with."""
    narrow = SPEC.model_copy(update={"dtype": "float16"})
    module = build_module(GraphRequest(subject=narrow))
    assert {parameter.dtype for parameter in module.parameters()} == {torch.float32}
