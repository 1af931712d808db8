"""How firmly architecture parameters decide: entropies, rows whose best choices are close, and the distance from chance."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from models.spaces.base import SearchSpace
from models.spec.base import Record
from nas_client.latency.parameters import GRANULARITIES, ArchitectureParameters, Granularity

CLOSE_GAP = 0.05
"""Logits of a row's best two choices that differ by less are close: 51 to 49 between the two."""

NEARLY_RANDOM = 0.02
"""Of the entropy of equal choices: parameters whose distance from them, or from the search's start, is less than this share."""


class RowGap(Record):
    """How firmly one row chose.

    Attributes:
        group, row: the row is counted within its group, as in a parameter file.
        choice, second: columns of its two highest logits, the first of equals before.
        gap: between these, in logit: 0 is a tie.
    """

    group: str
    row: int
    choice: int
    second: int
    gap: float


class Firmness(Record):
    """How firmly the rows of one granularity chose. Rows with one choice are left out.

    Attributes:
        entropy: mean over rows, nats.
        entropy_range: least and greatest of the rows'.
        entropy_maximum: of equal choices, mean over rows.
        learned: mean divergence (Kullback-Leibler), in nats, from equal choices or from where the space has a search start,
            whichever is nearer.
        close_rows: how many have a gap below `CLOSE_GAP`.
        gaps: of all rows, in order.
    """

    granularity: Granularity
    entropy: float
    entropy_range: tuple[float, float]
    entropy_maximum: float
    learned: float
    close_rows: int
    gaps: tuple[RowGap, ...]

    @property
    def ties(self) -> tuple[RowGap, ...]:
        """The rows whose best two choices are equally probable."""
        return tuple(row for row in self.gaps if not row.gap)

    @property
    def nearly_random(self) -> bool:
        """Whether a network decoded from these rows is close to one decoded from chance."""
        return self.learned < NEARLY_RANDOM * self.entropy_maximum


def firmness(parameters: ArchitectureParameters, space: SearchSpace) -> tuple[Firmness, ...]:
    """Of each granularity that the parameters have, as far as it has something to choose."""
    start = ArchitectureParameters.starting(parameters.shapes, space.initial_logits(), dtype=torch.float64)
    return tuple(found for name in GRANULARITIES if (found := _of_granularity(parameters, start, name)) is not None)


def _of_granularity(
    parameters: ArchitectureParameters, start: ArchitectureParameters, granularity: Granularity
) -> Firmness | None:
    entropies: list[float] = []
    equal: list[float] = []
    moved: list[float] = []
    gaps: list[RowGap] = []
    for group, (rows, choices) in parameters.shapes[granularity].items():
        if choices < 2 or not rows:
            continue
        logits = parameters.group(granularity, group).detach().double().cpu()
        logs = torch.log_softmax(logits, dim=-1)
        entropy = torch.special.entr(logs.exp()).sum(dim=-1)
        entropies += entropy.tolist()
        equal += [math.log(choices)] * rows
        moved += _divergence(logs, torch.log_softmax(start.group(granularity, group), dim=-1)).tolist()
        gaps += _gaps(group, logits)
    if not gaps:
        return None
    from_equal = [most - own for most, own in zip(equal, entropies, strict=True)]
    return Firmness(
        granularity=granularity,
        entropy=_mean(entropies),
        entropy_range=(min(entropies), max(entropies)),
        entropy_maximum=_mean(equal),
        learned=max(0.0, min(_mean(from_equal), _mean(moved))),
        close_rows=sum(row.gap < CLOSE_GAP for row in gaps),
        gaps=tuple(gaps),
    )


def _divergence(logs: Tensor, others: Tensor) -> Tensor:
    """Of each row from the other, in nats. Shape: logarithms of probabilities (rows, choices), result (rows,)."""
    return (logs.exp() * (logs - others)).sum(dim=-1)


def _gaps(group: str, logits: Tensor) -> Iterator[RowGap]:
    order = logits.argsort(dim=-1, descending=True, stable=True)
    for row, (choice, second) in enumerate(order[:, :2].tolist()):
        gap = float(logits[row, choice] - logits[row, second])
        yield RowGap(group=group, row=row, choice=choice, second=second, gap=gap)


def _mean(values: list[float]) -> float:
    return math.fsum(values) / len(values)
