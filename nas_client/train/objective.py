"""What a training minimises, term by term."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from nas_client.train.config import LossConfig
from nas_client.train.losses import Gather, alone, distillation, hard_pixel_cross_entropy
from nas_client.train.networks import Scores


@dataclass(frozen=True, eq=False)
class Terms:
    """Weighted scalars that add up to the loss.

    Attributes:
        segmentation: cross-entropy on hard pixels.
        auxiliary: the same of all auxiliary heads, weighted; 0 without heads.
        distillation: divergence from the teacher, weighted; 0 without a teacher.
    """

    segmentation: Tensor
    auxiliary: Tensor
    distillation: Tensor

    def named(self) -> dict[str, Tensor]:
        """By name."""
        return {"segmentation": self.segmentation, "auxiliary": self.auxiliary, "distillation": self.distillation}

    @property
    def total(self) -> Tensor:
        """The loss."""
        return self.segmentation + self.auxiliary + self.distillation


def objective(
    scores: Scores,
    labels: Tensor,
    teacher: Tensor | None,
    losses: LossConfig,
    *,
    gather: Gather = alone,
    ranks: int = 1,
) -> Terms:
    """The terms of one batch; where several processes share it, this one's part of them, and all parts add up.

    Args:
        scores: at the labels' size.
        labels: class ids or `IGNORE`. Shape: (N, H, W).
        teacher: its class scores, where there is one; no gradient reaches it. Shape: that of the combined scores.
        losses: weights and kinds.
        gather: see `hard_pixel_cross_entropy`.
        ranks: how many processes share the batch, equally.

    Raises:
        ShapeError: names both shapes.

    Source: FasterSeg section 3.3; equal weights of segmentation and distillation.
    """

    def cross_entropy(logits: Tensor) -> Tensor:
        return hard_pixel_cross_entropy(
            logits,
            labels,
            threshold=losses.hard_pixels.threshold,
            min_share=losses.hard_pixels.min_share,
            gather=gather,
        )

    segmentation = cross_entropy(scores.combined)
    auxiliary, divergence = segmentation.new_zeros(()), segmentation.new_zeros(())
    for logits in scores.auxiliary:
        auxiliary = auxiliary + losses.auxiliary * cross_entropy(logits)
    if teacher is not None:
        mean = distillation(
            scores.combined, teacher, teacher_temperature=losses.teacher_temperature, direction=losses.direction
        )
        divergence = losses.distillation * mean / ranks
    return Terms(segmentation, auxiliary, divergence)
