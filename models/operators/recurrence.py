"""The ReLU recurrence with identity weights, along rows and columns, without a loop over positions.

A step h ↦ max(h + x, 0) is of the form h ↦ max(h + a, b). Two of this form, one after the other, are a third:
(a₁ + a₂, max(b₁ + a₂, b₂)). So the recurrence is an associative scan: ⌈log₂ n⌉ rounds of shifted additions and maxima give all
n positions. That is how it is exported, compiled and run on a GPU. It subtracts no sums from each other, so it loses no digits
where inputs are negative. (The closed form S_t − min S_k does.)

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


def _position_by_position(x: Tensor, direction: Direction, gate: Tensor | None = None) -> Tensor:
    """What `relu_scan`, or with a gate `gated_sum_scan`, computes, by a loop in place; half precision is summed in float32.

    A processor without thousands of threads is busy with one position of all rows; a scan only gives it more to do.
    """
    wide = torch.float32 if x.dtype in (torch.float16, torch.bfloat16) else x.dtype
    sums = _rows(x, direction).to(wide, copy=True, memory_format=torch.contiguous_format)
    gates = sums.unbind() if gate is None else _rows(gate, direction).to(wide).contiguous().unbind()
    before = None
    for here, factor in list(zip(sums.unbind(), gates, strict=True))[:: 1 if direction.forward else -1]:
        if before is not None:
            here.add_(before)
        before = here.relu_() if gate is None else here.mul_(factor)
    return _map(sums.to(x.dtype), x.shape, direction)


def _rows(x: Tensor, direction: Direction) -> Tensor:
    """Positions first. Shape: (length, others); a matrix's transpose is copied faster than what has more dimensions."""
    length = x.shape[direction.dim]
    return x.reshape(-1, length).t() if direction.dim == -1 else x.movedim(-2, 0).reshape(length, -1)


def _map(rows: Tensor, shape: torch.Size, direction: Direction) -> Tensor:
    """What `_rows` was made of, contiguous."""
    if direction.dim == -1:
        return rows.t().contiguous().view(shape)
    return rows.view(shape[-2], *shape[:-2], shape[-1]).movedim(0, -2).contiguous()


def _looped(x: Tensor) -> bool:
    """Whether a loop is faster here, and no graph is recorded that would have to hold every position."""
    return x.device.type == "cpu" and not torch.compiler.is_compiling()


class _Recurrence(torch.autograd.Function):
    """The recurrence; its gradient is one as well, in the other direction, so that nothing but the result is kept.

    From h_t = max(h_{t−1} + x_t, 0) follows ∂L/∂x_t = [h_t > 0] · (∂L/∂h_t + ∂L/∂x_{t+1}).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, direction: Direction) -> Tensor:
        ctx.direction = direction
        h = _position_by_position(x, direction) if _looped(x) else relu_scan(x, direction)
        ctx.save_for_backward(h)
        return h

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (h,) = ctx.saved_tensors
        back, gate = Direction(ctx.direction.dim, not ctx.direction.forward), (h > 0).to(grad.dtype)
        return _position_by_position(grad, back, gate) if _looped(grad) else gated_sum_scan(grad, gate, back), None


def recurrence(x: Tensor, direction: Direction) -> Tensor:
    """h_t = max(h_{t−1} + x_t, 0) at every position t, from h = 0.

    Shape: input and output (…, H, W).
    """
    if x.requires_grad and torch.is_grad_enabled():
        h: Tensor = _Recurrence.apply(x, direction)  # type: ignore[no-untyped-call]
        return h
    return _position_by_position(x, direction) if _looped(x) else relu_scan(x, direction)


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
        seen = (x,) * count if self.shared else x.chunk(count, dim=1)
        found = [recurrence(part, to) for part, to in zip(seen, DIRECTIONS, strict=True)]
        if maps is not None:
            found = [h * weight for h, weight in zip(found, maps.chunk(count, dim=1), strict=True)]
        return torch.cat(found, dim=1)

    def extra_repr(self) -> str:
        return f"shared={self.shared}"
