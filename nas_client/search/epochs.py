"""What a search tells of each epoch: one line of its journal."""

from __future__ import annotations

from typing import Literal

from models.spec.architectures import ArchitectureSpec
from models.spec.base import Record

Phase = Literal["pretrain", "search"]


class SupernetLatency(Record):
    """Milliseconds of the supernet, by granularity and with all free."""

    operator_ms: float
    downsample_ms: float
    expansion_ms: float
    weighted_ms: float
    relaxed_ms: float


class DecodedNetwork(Record):
    """A network that the parameters stand for at the end of an epoch."""

    branches: tuple[int, ...]
    estimate_ms: float
    skip_share: float
    narrowest_share: float
    architecture: ArchitectureSpec


class SearchEpoch(Record):
    """One epoch of a search."""

    phase: Phase
    epoch: int
    steps: int
    seconds: float
    losses: dict[str, float]
    latency: SupernetLatency | None = None
    latency_share: float | None = None
    entropy: dict[str, dict[str, float]]
    mean_iou: dict[str, dict[str, float]]
    decoded: dict[str, tuple[DecodedNetwork, ...]]
