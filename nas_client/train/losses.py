"""Losses on logits, and the objective that a training sums up from them. Pure functions.

The losses are cross-entropy on the hardest pixels, the Dice loss, and distillation. Half-precision logits are converted to
float32 first, since half precision has too few digits for a mean over a million pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from nas_client.data.classes import IGNORE
from nas_client.errors import ShapeError
from nas_client.train.config import OHEM_MIN_SHARE, OHEM_THRESHOLD, Direction, HardPixels, LossConfig, LossKind

if TYPE_CHECKING:
    from nas_client.train.networks import Scores

Gather = Callable[[Tensor], Tensor]
"""Joins the tensors of all processes along the first dimension, without gradients."""


def single_process(tensor: Tensor) -> Tensor:
    """The gathering of a single process."""
    return tensor


def hard_pixel_cross_entropy(
    logits: Tensor,
    labels: Tensor,
    *,
    threshold: float = OHEM_THRESHOLD,
    min_share: float = OHEM_MIN_SHARE,
    gather: Gather = single_process,
) -> Tensor:
    """Mean cross-entropy over hard pixels: online hard example mining.

    A pixel is hard if its true class has a probability of at most `threshold`. If fewer than `min_share` of the batch's pixels
    are, the least probable count up to that number. Without a labelled pixel the loss is 0.

    Args:
        logits: shape (N, classes, H, W).
        labels: class ids or `IGNORE`, int64. Shape: (N, H, W).
        threshold: between 0 and 1; 1 makes it the plain cross-entropy over labelled pixels.
        min_share: between 0 and 1, of all pixels, labelled or not; one pixel at the least.
        gather: where several processes share a batch: the result is this one's part, and all parts add up to the batch's loss.

    Raises:
        ShapeError: names both shapes.

    Source: FasterSeg, Appendix F; Shrivastava et al. 2016.
    """
    _require_labels(logits, labels)
    losses = functional.cross_entropy(_wide(logits), labels, ignore_index=IGNORE, reduction="none").flatten()
    with torch.no_grad():
        labelled = (labels != IGNORE).flatten()
        ranked = torch.where(labelled, losses, -torch.inf)
        all_ranked = gather(ranked)
        least = max(1, int(min_share * all_ranked.numel()))
        least_probable = all_ranked.topk(least, sorted=False).values.min()
        easiest = torch.minimum(-torch.log(ranked.new_tensor(threshold)), least_probable)
        hard = labelled & ~(ranked < easiest)  # not >=, which would drop what is not a number, and hide that the loss is none
        count = gather(hard.sum()[None]).sum()
    return torch.where(hard, losses, 0.0).sum() / count.clamp(min=1)


def dice(logits: Tensor, labels: Tensor, *, gather: Gather = single_process) -> Tensor:
    """1 − 2·Σpg / (Σp + Σg), the mean over the classes that the batch has; p is a class's probability, g whether a pixel is of
    it, and sums go over all labelled pixels of the batch. Without a labelled pixel the loss is 0.

    Args:
        logits: shape (N, classes, H, W).
        labels: class ids or `IGNORE`, int64. Shape: (N, H, W).
        gather: as of `hard_pixel_cross_entropy`. The gradients of all parts are those of the batch's loss, too.

    Raises:
        ShapeError: names both shapes.

    Source: SEARCH-Net eq. 3.
    """
    _require_labels(logits, labels)
    probabilities, classes = _wide(logits).softmax(dim=1), logits.shape[1]
    labelled = labels != IGNORE
    known = torch.where(labelled, labels, 0)
    of_label = probabilities.gather(1, known[:, None]).squeeze(1) * labelled
    # One class after the other, a million addends each: in float64, so that none gets lost.
    overlap = of_label.new_zeros(classes, dtype=torch.float64).index_add(0, known.flatten(), of_label.flatten().double())
    counts = torch.bincount(labels[labelled], minlength=classes)
    size = (probabilities * labelled[:, None]).sum(dim=(0, 2, 3)).double() + counts
    own = torch.stack([overlap, size, counts.double()])
    of_processes = gather(own.detach()[None])
    overlap, size, counts = of_processes.sum(dim=0) + (own - own.detach())
    present = counts.detach() > 0
    terms = torch.where(present, 1 - 2 * overlap / torch.where(present, size, 1.0), 0.0)
    loss: Tensor = (terms.sum() / present.sum().clamp(min=1)).to(probabilities.dtype)
    return loss - loss.detach() * (1 - 1 / len(of_processes))  # this process's part, with the whole gradient


def segmentation_loss(
    logits: Tensor, labels: Tensor, *, kind: LossKind, hard_pixels: HardPixels, gather: Gather = single_process
) -> Tensor:
    """The loss of that kind; see `dice` and `hard_pixel_cross_entropy`."""
    if kind == "dice":
        return dice(logits, labels, gather=gather)
    return hard_pixel_cross_entropy(
        logits, labels, threshold=hard_pixels.threshold, min_share=hard_pixels.min_share, gather=gather
    )


def distillation(
    student: Tensor, teacher: Tensor, *, teacher_temperature: float = 1.0, direction: Direction = "student_teacher"
) -> Tensor:
    """Mean over pixels of the divergence between the student's and the teacher's class probabilities, in nats.

    The teacher receives no gradient. In training this is added to the segmentation loss, both with weight 1.0.

    Args:
        student: logits. Shape: (N, classes, H, W).
        teacher: logits of the same shape.
        teacher_temperature: divides the teacher's logits; the student's stay at 1 (M-FasterSeg eq. 14).
        direction: KL(student ‖ teacher), as both papers write it, or KL(teacher ‖ student), Hinton's, which FasterSeg's
            published code computes (averaged over classes as well, so 1/classes of this).

    Raises:
        ShapeError: names both shapes.

    Source: FasterSeg eq. 4; M-FasterSeg eqs. 14, 15.
    """
    if student.shape != teacher.shape:
        raise ShapeError(f"logits of the student have shape {tuple(student.shape)}, of the teacher {tuple(teacher.shape)}")
    log_student = functional.log_softmax(_wide(student), dim=1)
    log_teacher = functional.log_softmax(_wide(teacher).detach() / teacher_temperature, dim=1)
    p, q = (log_student, log_teacher) if direction == "student_teacher" else (log_teacher, log_student)
    return (p.exp() * (p - q)).sum(dim=1).mean()


def _require_labels(logits: Tensor, labels: Tensor) -> None:
    if logits.ndim != 4 or labels.shape != (logits.shape[0], *logits.shape[2:]):
        expected = (logits.shape[0], *logits.shape[2:])
        raise ShapeError(
            f"labels have shape {tuple(labels.shape)}; logits of shape {tuple(logits.shape)} need {expected}",
            hint="Upsample the logits, or read labels with a label_stride.",
        )


def _wide(logits: Tensor) -> Tensor:
    return logits if logits.dtype == torch.float64 else logits.float()


@dataclass(frozen=True, eq=False)
class Terms:
    """Weighted scalars that add up to the loss.

    Attributes:
        segmentation: the segmentation loss.
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
    gather: Gather = single_process,
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

    def of_labels(logits: Tensor) -> Tensor:
        return segmentation_loss(logits, labels, kind=losses.kind, hard_pixels=losses.hard_pixels, gather=gather)

    segmentation = of_labels(scores.combined)
    auxiliary, divergence = segmentation.new_zeros(()), segmentation.new_zeros(())
    for logits in scores.auxiliary:
        auxiliary = auxiliary + losses.auxiliary * of_labels(logits)
    if teacher is not None:
        mean = distillation(
            scores.combined, teacher, teacher_temperature=losses.teacher_temperature, direction=losses.direction
        )
        divergence = losses.distillation * mean / ranks
    return Terms(segmentation, auxiliary, divergence)
