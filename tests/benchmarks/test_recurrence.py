"""The recurrence in four directions: forward and backward against the sequential form, and exported, in two forms."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from models.export.onnx_graph import to_onnx
from models.operators.recurrence import DIRECTIONS, DOWN, LEFT, RIGHT, UP, Direction, FourDirections, recurrences, relu_scan
from models.operators.seeded_weights import random_input
from tests.support.irnn_recursion import sequential

pytestmark = pytest.mark.benchmark

CHANNELS = 64
LEAST_RATIO = 10
ROUNDS = 7

Form = Callable[[Tensor], tuple[Tensor, ...]]
"""From a map to the four directions' maps."""


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def listed(x: Tensor, direction: Direction) -> Tensor:
    """The sequential form over a list of all positions' maps, so that its gradient does not touch the whole map at each."""
    maps = x.unbind(direction.dim)
    h, found = torch.zeros(()), []
    for part in maps if direction.forward else maps[::-1]:
        h = torch.relu(h + part)
        found.append(h)
    return torch.stack(found if direction.forward else found[::-1], direction.dim)


def four(form: Callable[[Tensor, Direction], Tensor]) -> Form:
    return lambda x: tuple(form(x, direction) for direction in DIRECTIONS)


def ours(x: Tensor) -> tuple[Tensor, ...]:
    return *recurrences(x, RIGHT, LEFT), *recurrences(x, DOWN, UP)


def pass_ms(form: Form, x: Tensor, grads: tuple[Tensor, ...]) -> float:
    start = time.perf_counter()
    torch.autograd.grad(form(x), x, grads)
    if x.is_cuda:
        torch.cuda.synchronize()
    return 1e3 * (time.perf_counter() - start)


@pytest.mark.parametrize("size", [(64, 128), (128, 256)])
def test_forward_and_backward(size: tuple[int, int]) -> None:
    """Forms take turns, so that what else the machine does meets all of them; the least time of each counts."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    x = torch.randn(1, CHANNELS, *size, device=device).requires_grad_()
    grads = tuple(torch.randn_like(x) for _ in DIRECTIONS)
    others = {"sequential": sequential, "listed": listed, "scan by torch": relu_scan}
    forms: dict[str, Form] = {"ours": ours, **{name: four(form) for name, form in others.items()}}
    taken = {name: min(times) for name, times in zip(forms, _rounds(forms, x, grads), strict=True)}
    ratios = {name: ms / taken["ours"] for name, ms in taken.items() if name != "ours"}
    told = ", ".join(f"{name} {ratio:.1f}" for name, ratio in ratios.items())
    print(f"\n{size[0]}×{size[1]}, {CHANNELS} channels, {device}: ours {taken['ours']:.1f} ms; times as long: {told}")
    assert ratios["sequential"] >= LEAST_RATIO


def _rounds(forms: dict[str, Form], x: Tensor, grads: tuple[Tensor, ...]) -> Iterator[list[float]]:
    for form in forms.values():
        pass_ms(form, x, grads)
    rounds = [[pass_ms(form, x, grads) for form in forms.values()] for _ in range(ROUNDS)]
    yield from (list(times) for times in zip(*rounds, strict=True))


@pytest.mark.parametrize(("channels", "size"), [(96, (32, 64)), (288, (32, 64)), (64, (90, 120))])
def test_exported_for_a_cpu(channels: int, size: tuple[int, int]) -> None:
    """Written step by step against the scan, in ONNX Runtime on one thread; runs in turn, the median of each counts."""
    runtime = pytest.importorskip("onnxruntime", reason="runs the graphs: pip install 'opclock[onnxruntime]'")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    layer, shape = FourDirections(shared=True).eval(), (1, channels, *size)
    graphs = [to_onnx(layer, shape, name="recurrence", unrolled=unrolled) for unrolled in (False, True)]
    sessions = [runtime.InferenceSession(g.SerializeToString(), options, providers=["CPUExecutionProvider"]) for g in graphs]
    given = {"input": random_input(shape, "recurrence")}
    rounds = [[_run_ms(session, given) for session in sessions] for _ in range(3 * ROUNDS)]
    scan, unrolled = (statistics.median(times) for times in zip(*rounds[1:], strict=True))
    where, ratio = f"{channels}×{size[0]}×{size[1]}", scan / unrolled
    print(f"\n{where}: as a scan {scan:.2f} ms, step by step {unrolled:.2f} ms, {ratio:.1f} times")
    assert unrolled < scan


def _run_ms(session: Any, given: dict[str, Any]) -> float:
    start = time.perf_counter()
    session.run(None, given)
    return 1e3 * (time.perf_counter() - start)
