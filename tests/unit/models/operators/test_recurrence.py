"""The recurrence without a loop over positions, against the sequential form, and the attention that is made of it."""

from __future__ import annotations

from math import ceil, log2

import numpy as np
import pytest
import torch
from onnx import ModelProto

from models.export.onnx_graph import to_onnx
from models.networks.module import build_module
from models.operators.attention import AdaptiveAttention, Irnn
from models.operators.layers import build_operator
from models.operators.recurrence import DIRECTIONS, Direction, FourDirections, gated_sum_scan, recurrences, relu_scan
from models.operators.seeded_weights import fill, random_input
from models.spec.graphs import GraphRequest
from models.spec.operators import OperatorSpec
from tests.support.irnn_recursion import sequential

ALLOWED = {torch.float32: 1e-5, torch.float16: 1e-3, torch.bfloat16: 8e-3}
"""Relative errors; of the second and third, as many roundings as of their last digit."""

ATTENTION = OperatorSpec(kind="adaptive_attention", in_channels=8, out_channels=8, height=12, width=20)
LOOPS = {"Scan", "Loop", "If", "CumSum"}


def relative(found: torch.Tensor, exact: torch.Tensor) -> float:
    return float((found.double() - exact).detach().norm() / exact.detach().norm())


@pytest.mark.parametrize("dtype", ALLOWED)
@pytest.mark.parametrize("mean", [-1.0, 0.0, 1.0])
def test_both_forms_are_as_exact_as_they_promise(mean: float, dtype: torch.dtype) -> None:
    """At 512 positions; the closed form S_t − min S_k would be 1e-5 off in float32 and 8e-2 in float16 where inputs are
    negative. Gradients, too.
    """
    generator = torch.Generator().manual_seed(0)
    along = torch.stack([torch.randn(1, 4, 512, generator=generator) + mean, torch.randn(1, 4, 512, generator=generator)])
    for direction in DIRECTIONS:
        x, grad = (along if direction.dim == -1 else along.transpose(-1, -2)).to(dtype)
        exact_x = x.double().requires_grad_()
        exact = sequential(exact_x, direction)
        (exact_grad,) = torch.autograd.grad(exact, exact_x, grad.double())
        assert relative(relu_scan(x, direction), exact) <= ALLOWED[dtype]
        taken = x.clone().requires_grad_()
        (found,) = recurrences(taken, direction)
        assert found.dtype == dtype
        assert relative(found, exact) <= ALLOWED[dtype]
        gate, back = (exact > 0).to(dtype), Direction(direction.dim, not direction.forward)
        assert relative(gated_sum_scan(grad, gate, back), exact_grad) <= ALLOWED[dtype]
        if dtype == torch.float32:  # what is 0 in half precision and not here lets gradients through or does not
            assert relative(torch.autograd.grad(found, taken, grad)[0], exact_grad) <= ALLOWED[dtype]


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (7, 2), (8, 8)])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_gradients_and_odd_sizes(direction: Direction, size: tuple[int, int]) -> None:
    x = torch.randn(2, 3, *size, dtype=torch.double, generator=torch.Generator().manual_seed(1)).requires_grad_()
    torch.testing.assert_close(recurrences(x, direction)[0], sequential(x, direction))
    torch.testing.assert_close(relu_scan(x, direction), sequential(x, direction))
    assert torch.autograd.gradcheck(lambda given: recurrences(given, direction)[0], (x,))


def test_both_directions_at_once_are_each_of_them() -> None:
    """Weighted by maps, and with gradients: what the four directions of one projection add up to."""
    generator = torch.Generator().manual_seed(2)
    x, maps, grad = (torch.randn(2, c, 5, 6, generator=generator, dtype=torch.double) for c in (3, 4, 12))
    x.requires_grad_()
    found = FourDirections(shared=True)(x, maps)
    own = FourDirections(shared=False)(torch.cat([x] * 4, dim=1), maps)
    expected = torch.cat([sequential(x, d) * maps[:, i : i + 1] for i, d in enumerate(DIRECTIONS)], dim=1)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(own, expected)
    wanted = torch.autograd.grad(expected, x, grad)
    torch.testing.assert_close(torch.autograd.grad(found, x, grad), wanted)
    torch.testing.assert_close(torch.autograd.grad(own, x, grad), wanted)


def test_a_compiled_recurrence_is_a_scan() -> None:
    """A graph of a loop would hold every position: minutes to compile."""
    seen: list[int] = []

    def counted(graph: torch.fx.GraphModule, _inputs: object) -> torch.fx.GraphModule:
        seen.append(len(graph.graph.nodes))
        return graph

    x = torch.randn(1, 2, 4, 64)
    with torch.no_grad():
        found = torch.compile(lambda given: recurrences(given, DIRECTIONS[0])[0], backend=counted)(x)
    torch.testing.assert_close(found, recurrences(x, DIRECTIONS[0])[0])
    assert seen
    assert seen[0] < 6 * log2(64) + 6


def graph_of(spec: OperatorSpec, *, unrolled: bool = False) -> ModelProto:
    request = GraphRequest(subject=spec)
    return to_onnx(build_module(request), request.input_shape, dtype=spec.dtype, name="operator", unrolled=unrolled)


@pytest.mark.parametrize("kind", ["irnn", "adaptive_attention"])
def test_graphs_have_no_loop_and_as_many_rounds_as_the_logarithm(kind: str) -> None:
    spec = ATTENTION.model_copy(update={"kind": kind, "attributes": {}})
    nodes = [node.op_type for node in graph_of(OperatorSpec.parse(spec.model_dump())).graph.node]
    rounds = 2 if kind == "adaptive_attention" else 1
    assert not LOOPS & set(nodes)
    assert nodes.count("Max") == rounds * 2 * (ceil(log2(12)) + ceil(log2(20)))


@pytest.mark.parametrize("shared", [False, True])
def test_unrolled_graphs_have_no_loop_and_a_sum_for_every_position(shared: bool) -> None:
    """Those of opposite directions are cut out once, where both see the same map."""
    spec = OperatorSpec.parse(ATTENTION.model_dump() | {"kind": "irnn", "attributes": {"shared": shared}})
    nodes = [node.op_type for node in graph_of(spec, unrolled=True).graph.node]
    assert not (LOOPS | {"Max"}) & set(nodes)
    assert nodes.count("Add") == 2 * (12 - 1) + 2 * (20 - 1)
    assert nodes.count("Split") == (2 if shared else 5)


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("unrolled", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_graphs_run_in_onnx_runtime(dtype: str, unrolled: bool, shared: bool) -> None:
    runtime = pytest.importorskip("onnxruntime", reason="pip install 'opclock[onnxruntime]'")
    spec = OperatorSpec.parse(ATTENTION.model_dump() | {"dtype": dtype, "attributes": {"shared": shared}})
    given = random_input(spec.input_shape, spec.key())
    session = runtime.InferenceSession(
        graph_of(spec, unrolled=unrolled).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (found,) = session.run(None, {"input": given.astype(dtype)})
    with torch.inference_mode():
        expected = build_module(GraphRequest(subject=spec))(torch.from_numpy(given)).double()
    assert relative(torch.from_numpy(found.astype(np.float64)), expected) <= {"float32": 1e-5, "float16": 1e-2}[dtype]


def test_one_round_sees_a_cross_and_two_see_everything() -> None:
    def seen(module: torch.nn.Module) -> torch.Tensor:
        for parameter in module.parameters():
            torch.nn.init.constant_(parameter, 0.1)  # nothing cancels, no ReLU closes
        x = torch.ones(1, 2, 5, 7, requires_grad=True)
        (gradient,) = torch.autograd.grad(module.eval()(x)[0, 0, 2, 3], x)
        found: torch.Tensor = gradient.abs().sum(dim=(0, 1)) > 0
        return found

    cross = torch.zeros(5, 7, dtype=torch.bool)
    cross[2, :] = cross[:, 3] = True
    once = Irnn(2, 2, shared=True)
    assert torch.equal(seen(once), cross)
    assert seen(torch.nn.Sequential(Irnn(2, 2, shared=True), Irnn(2, 2, shared=True))).all()


def test_maps_weigh_the_directions() -> None:
    """SPANet's published attention computes that product and drops it."""
    module = build_operator(ATTENTION)
    assert isinstance(module, AdaptiveAttention)
    fill(module, "attention")
    x = torch.from_numpy(random_input(ATTENTION.input_shape, "x"))
    last = module.maps[4]
    with torch.inference_mode():
        before = module(x)
        for direction in range(4):
            bias = last.bias[direction].item()
            last.bias[direction] = -1e4  # the sigmoid is 0
            assert not torch.allclose(module(x), before)
            last.bias[direction] = bias
        last.bias.fill_(-1e4)
        without = module(x)
        assert not torch.allclose(without, torch.relu(x))  # batch normalisation's shift is left, the same at every pixel
        residual = (without - x)[without > 0].view(-1)
        assert residual.unique().numel() < residual.numel() / 4


@pytest.mark.parametrize("kind", ["irnn", "adaptive_attention"])
def test_seeded_weights_keep_half_precision_finite_on_large_maps(kind: str) -> None:
    """A recurrence adds up a row: two rounds of 256 positions would overflow."""
    spec = OperatorSpec(kind=kind, in_channels=8, out_channels=8, height=4, width=256, dtype="float16")
    module, given = build_module(GraphRequest(subject=spec)), torch.from_numpy(random_input(spec.input_shape, "x"))
    with torch.inference_mode():
        exact = module(given).double()
        assert float(exact.abs().max()) < 100
        assert relative(module.half()(given.half()), exact) <= 1e-2
