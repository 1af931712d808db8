"""What is known of a search after each epoch: one line of its journal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import model_validator

from models.spec.architectures import ArchitectureSpec
from models.spec.base import Record

Phase = Literal["pretrain", "search", "second"]


TERMS = {"alpha": "operator_ms", "beta": "downsample_ms", "gamma": "expansion_ms"}
"""The field in which each granularity's term is kept."""


class Latencies(Record):
    """The student's latency by the table, summed over all outputs, at the probabilities of α, β, γ; in ms.

    Attributes:
        operator_ms, downsample_ms, expansion_ms: with one granularity free.
        weighted_ms: the decoupled loss.
        relaxed_ms: with all free: the supernet's latency.
    """

    operator_ms: float
    downsample_ms: float
    expansion_ms: float
    weighted_ms: float
    relaxed_ms: float


class OfAlternative(Record):
    """What belongs to one of a space's alternatives.

    Attributes:
        alternative: its label, such as `8,32`; empty where there is nothing to choose.
    """

    alternative: str

    @model_validator(mode="before")
    @classmethod
    def _of_branches(cls, data: Any) -> Any:
        """Files of earlier releases name FasterSeg's alternatives by the ends of their branches, as `[8, 32]`."""
        if isinstance(data, Mapping) and "branches" in data and "alternative" not in data:
            rest = {name: value for name, value in data.items() if name != "branches"}
            return {"alternative": label_of_ends(data["branches"]), **rest}
        return data


def label_of_ends(ends: Any) -> Any:
    """The label of an alternative that a file of an earlier release names by a list; anything else as it is."""
    return ",".join(map(str, ends)) if isinstance(ends, list | tuple) else ends


class Decoded(OfAlternative):
    """The network that the parameters stand for at this time, one of the space's alternatives.

    Attributes:
        estimate_ms: the sum of its operators' entries.
        skip_share: of the cells, those whose most probable operator does nothing, before any is removed.
        narrowest_share: of the connections between those cells, those of the least width; 0 where widths are not searched.
    """

    estimate_ms: float
    skip_share: float
    narrowest_share: float
    architecture: ArchitectureSpec


class SearchEpoch(Record):
    """One epoch.

    Attributes:
        phase: `pretrain` trains weights alone.
        warmup: whether this epoch of a search trained weights alone, too.
        epoch: counted from 0 in each phase.
        steps: how many updates of each kind.
        seconds: steps and evaluation.
        losses: means over steps, by name: `weights_ROLE` and `architecture_ROLE`, the segmentation loss of those updates for
            one prediction; `latency`, the student's latency loss in ms, not multiplied with λ.
        latency_share: of the time of the steps, that of the latency loss, forward and backward; None without one.
        latency_factor: λ of these steps; None where latency was no part of a loss.
        latency_ratio: λ times the latency over the student's segmentation loss, of all its predictions; None as before.
        judged_ms: the estimate by which λ is moved after this epoch, see `LatencyFactor`; None where it stays.
        latency: at the end of the epoch.
        entropy: by role and granularity, the mean over rows in nats at the end of the epoch.
        mean_iou: by role and alternative, on the validation split; empty where this epoch was not evaluated.
        decoded: by role, a network for each alternative.
    """

    phase: Phase
    warmup: bool = False
    epoch: int
    steps: int
    seconds: float
    losses: Mapping[str, float]
    latency_share: float | None = None
    latency_factor: float | None = None
    latency_ratio: float | None = None
    judged_ms: float | None = None
    latency: Latencies
    entropy: Mapping[str, Mapping[str, float]]
    mean_iou: Mapping[str, Mapping[str, float | None]]
    decoded: Mapping[str, tuple[Decoded, ...]]
