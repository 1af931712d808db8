"""The ReLU recurrence with identity weights, along rows and columns, without a loop over positions.

A step h ↦ max(h + x, 0) is of the form h ↦ max(h + a, b). Two of this form, one after the other, are a third:
(a₁ + a₂, max(b₁ + a₂, b₂)). So the recurrence is an associative scan: ⌈log₂ n⌉ rounds of shifted additions and maxima give all
n positions. That is how it is compiled, run on a GPU, and exported for one. It subtracts no sums from each other, so it loses
no digits where inputs are negative. (The closed form S_t − min S_k does.)

Source: Bell et al. 2016 (IRNN); M-FasterSeg eq. 4.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional


class Direction(NamedTuple):
    """Where a recurrence moves.

    Attributes:
        dim: of an NCHW map that it runs along, -1 or -2.
        forward: whether towards higher indices.
    """

    dim: int
    forward: bool


RIGHT, LEFT, DOWN, UP = (Direction(dim, forward) for dim in (-1, -2) for forward in (True, False))
DIRECTIONS = (RIGHT, LEFT, DOWN, UP)
"""In the order in which their maps are concatenated."""


def shifts(length: int, direction: Direction) -> Iterator[tuple[int, int, int, int]]:
    """What each round of a scan pads its maps with, as torch writes it: left, right, top, bottom. Negative numbers cut off."""
    distance = 1
    while distance < length:
        by = distance if direction.forward else -distance
        yield (by, -by, 0, 0) if direction.dim == -1 else (0, 0, by, -by)
        distance *= 2


def relu_scan(x: Tensor, direction: Direction) -> Tensor:
    """h_t = max(h_{t−1} + x_t, 0) at every position t, from h = 0; differentiable by torch, round by round.

    Zeros come in from beyond the edge. They are neutral: every b here is at least its a.

    Shape: input and output (…, H, W).
    """
    total, best = x, torch.relu(x)
    rounds = list(shifts(x.shape[direction.dim], direction))
    for index, by in enumerate(rounds, start=1):
        best = torch.maximum(best, functional.pad(best, by) + total)
        if index < len(rounds):
            total = total + functional.pad(total, by)
    return best


def gated_sum_scan(x: Tensor, gate: Tensor, direction: Direction) -> Tensor:
    """g_t = gate_t · (x_t + g_{t−1}) at every position t, from g = 0.

    Shape: inputs and output (…, H, W).
    """
    rounds = list(shifts(x.shape[direction.dim], direction))
    total, through = gate * x, gate
    for index, by in enumerate(rounds, start=1):
        total = total + through * functional.pad(total, by)
        if index < len(rounds):
            through = through * functional.pad(through, by)
    return total


class _Scan(torch.autograd.Function):
    """The recurrence; its gradient is one as well, in the other direction, so that nothing but the result is kept.

    From h_t = max(h_{t−1} + x_t, 0) follows ∂L/∂x_t = [h_t > 0] · (∂L/∂h_t + ∂L/∂x_{t+1}).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, direction: Direction) -> Tensor:
        ctx.direction = direction
        h = relu_scan(x, direction)
        ctx.save_for_backward(h)
        return h

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (h,) = ctx.saved_tensors
        back = Direction(ctx.direction.dim, not ctx.direction.forward)
        return gated_sum_scan(grad, (h > 0).to(grad.dtype), back), None


class _Loop(torch.autograd.Function):
    """The same position by position, in place, in one or both directions of a dimension; half precision is summed in float32.

    A processor without thousands of threads is busy with one position of all rows; a scan only gives it more to do.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, *directions: Direction) -> tuple[Tensor, ...]:
        first = _rows(x, directions[0])
        found = [first, *(first.clone() for _ in directions[1:])]
        for rows, direction in zip(found, directions, strict=True):
            before = None
            for here in rows.unbind()[:: 1 if direction.forward else -1]:
                before = here.relu_() if before is None else here.add_(before).relu_()
        results = tuple(_map(rows, x, direction) for rows, direction in zip(found, directions, strict=True))
        if ctx.needs_input_grad[0]:
            ctx.directions, ctx.gates = directions, [rows.sign_() for rows in found]  # all the gradient needs: 1 where h > 0
        return results

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        total = None
        for grad, gates, direction in zip(grads, ctx.gates, ctx.directions, strict=True):
            sums, before = _rows(grad, direction), None
            for here, gate in list(zip(sums.unbind(), gates.unbind(), strict=True))[:: -1 if direction.forward else 1]:
                before = here.mul_(gate) if before is None else here.add_(before).mul_(gate)
            total = sums if total is None else total.add_(sums)
        assert total is not None
        return _map(total, grads[0], ctx.directions[0]), *(None for _ in ctx.directions)


def _rows(x: Tensor, direction: Direction) -> Tensor:
    """A copy with positions first. Shape: (length, others). A matrix is transposed faster than what has more dimensions."""
    length = x.shape[direction.dim]
    moved = x.reshape(-1, length).t() if direction.dim == -1 else x.movedim(-2, 0)
    wide = torch.float32 if x.dtype in (torch.float16, torch.bfloat16) else x.dtype
    return moved.to(wide, copy=True, memory_format=torch.contiguous_format).view(length, -1)


def _map(rows: Tensor, like: Tensor, direction: Direction) -> Tensor:
    """A contiguous copy of rows, in the other's shape and dtype."""
    *outer, height, width = like.shape
    moved = rows.t() if direction.dim == -1 else rows.view(height, *outer, width).movedim(0, -2)
    return moved.to(like.dtype, copy=True, memory_format=torch.contiguous_format).view(like.shape)


def recurrences(x: Tensor, *directions: Direction) -> tuple[Tensor, ...]:
    """h_t = max(h_{t−1} + x_t, 0) at every position t, from h = 0, in each of these directions.

    On a CPU by a loop, unless a graph is recorded, which would have to hold every position; else by scans.

    Shape: input and outputs (…, H, W).

    Args:
        x: what enters.
        directions: of one dimension; those of two are two calls.
    """
    if x.device.type == "cpu" and not torch.compiler.is_compiling():
        found: tuple[Tensor, ...] = _Loop.apply(x, *directions)  # type: ignore[no-untyped-call]
        return found
    if x.requires_grad and torch.is_grad_enabled():
        return tuple(_Scan.apply(x, direction) for direction in directions)  # type: ignore[no-untyped-call]
    return tuple(relu_scan(x, direction) for direction in directions)


class FourDirections(nn.Module):
    """The recurrence in four directions, concatenated in the order of `DIRECTIONS`.

    Shape: input (N, C, H, W) if all directions see the same map, (N, 4C, H, W) if each sees a part of its own; optionally maps
    (N, 4, H, W), one to weigh each direction with; output (N, 4C, H, W).

    Args:
        shared: whether all directions see the same map.
    """

    def __init__(self, *, shared: bool) -> None:
        super().__init__()
        self.shared = shared

    def forward(self, x: Tensor, maps: Tensor | None = None) -> Tensor:
        count = len(DIRECTIONS)
        if self.shared:
            found = [*recurrences(x, RIGHT, LEFT), *recurrences(x, DOWN, UP)]
        else:
            found = [h for part, to in zip(x.chunk(count, dim=1), DIRECTIONS, strict=True) for h in recurrences(part, to)]
        if maps is not None:
            found = [h * weight for h, weight in zip(found, maps.chunk(count, dim=1), strict=True)]
        return torch.cat(found, dim=1)

    def extra_repr(self) -> str:
        return f"shared={self.shared}"
