from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck
from torch.nn import functional

from nas_client.data.classes import IGNORE
from nas_client.errors import ShapeError
from nas_client.train.config import HardPixels
from nas_client.train.losses import dice, distillation, hard_pixel_cross_entropy, segmentation_loss

CLASSES = 5


def _logits(seed: int, *, spread: float = 2.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return spread * torch.randn(2, CLASSES, 4, 6, generator=generator, dtype=torch.float64)


def _labels(seed: int, *, ignored: float = 0.2) -> Tensor:
    generator = torch.Generator().manual_seed(100 + seed)
    labels = torch.randint(CLASSES, (2, 4, 6), generator=generator)
    return torch.where(torch.rand(labels.shape, generator=generator) < ignored, IGNORE, labels)


def _obvious(logits: Tensor, labels: Tensor, threshold: float, min_share: float) -> float:
    """The definition, pixel by pixel."""
    probabilities = sorted(
        logits[n, :, row, column].softmax(0)[labels[n, row, column]].item()
        for n, row, column in (labels != IGNORE).nonzero().tolist()
    )
    hard = [value for value in probabilities if value <= threshold]
    kept = max(hard, probabilities[: max(1, int(min_share * labels.numel()))], key=len)
    return -torch.tensor(kept, dtype=torch.float64).log().mean().item()


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("threshold", "min_share"), [(0.7, 1 / 16), (0.05, 0.5), (0.3, 0.3), (0.01, 0.0), (0.7, 1.0)])
def test_hard_pixels_are_those_of_the_definition(seed: int, threshold: float, min_share: float) -> None:
    logits, labels = _logits(seed), _labels(seed)
    loss = hard_pixel_cross_entropy(logits, labels, threshold=threshold, min_share=min_share)
    assert loss.item() == pytest.approx(_obvious(logits, labels, threshold, min_share), rel=1e-9)


def test_a_threshold_of_one_is_plain_cross_entropy() -> None:
    logits, labels = _logits(0), _labels(0)
    plain = functional.cross_entropy(logits, labels, ignore_index=IGNORE)
    torch.testing.assert_close(hard_pixel_cross_entropy(logits, labels, threshold=1.0), plain)


def test_easy_and_ignored_pixels_get_no_gradient() -> None:
    logits, labels = _logits(1).requires_grad_(), _labels(1)
    hard_pixel_cross_entropy(logits, labels, threshold=0.3, min_share=0.1).backward()
    touched = (logits.grad != 0).any(dim=1)
    probability = logits.detach().softmax(1).gather(1, (labels % CLASSES)[:, None])[:, 0]
    assert torch.equal(touched, (labels != IGNORE) & (probability <= 0.3))
    assert 0 < touched.sum() < touched.numel()


def test_without_labels_the_loss_is_zero_and_has_a_gradient() -> None:
    logits = _logits(0).requires_grad_()
    loss = hard_pixel_cross_entropy(logits, torch.full((2, 4, 6), IGNORE))
    loss.backward()
    assert loss.item() == 0
    assert (logits.grad == 0).all()


def test_wide_logits_do_not_overflow() -> None:
    loss = hard_pixel_cross_entropy(_logits(0, spread=1e4), _labels(0))
    assert torch.isfinite(loss)


def test_a_logit_that_is_not_a_number_shows_in_the_loss() -> None:
    """Mining must not take it for an easy pixel: a training stops at such a loss."""
    logits, labels = _logits(0), _labels(0, ignored=0)
    logits[1, 2, 3, 4] = torch.nan
    for threshold in (0.7, 0.01):
        assert hard_pixel_cross_entropy(logits, labels, threshold=threshold).isnan()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_logits_are_summed_in_float32(dtype: torch.dtype) -> None:
    logits, labels = _logits(2).to(dtype), _labels(2)
    loss = hard_pixel_cross_entropy(logits, labels)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, hard_pixel_cross_entropy(logits.float(), labels))


def test_gradients_of_cross_entropy() -> None:
    labels = _labels(3)
    assert gradcheck(lambda logits: hard_pixel_cross_entropy(logits, labels, threshold=0.3), (_logits(3).requires_grad_(),))


def _obvious_dice(logits: Tensor, labels: Tensor) -> float:
    """The definition, class by class and pixel by pixel."""
    losses = []
    for label in sorted(set(labels.unique().tolist()) - {IGNORE}):
        overlap = size = 0.0
        for n, row, column in (labels != IGNORE).nonzero().tolist():
            p, g = logits[n, :, row, column].softmax(0)[label].item(), float(labels[n, row, column] == label)
            overlap, size = overlap + p * g, size + p + g
        losses.append(1 - 2 * overlap / size)
    return sum(losses) / len(losses)


@pytest.mark.parametrize("seed", range(4))
def test_dice_is_that_of_the_definition(seed: int) -> None:
    """For seed 3 a class is absent: it is not averaged."""
    logits, labels = _logits(seed), _labels(seed)
    if seed == 3:
        labels[labels == 2] = 1
    assert dice(logits, labels).item() == pytest.approx(_obvious_dice(logits, labels), rel=1e-9)
    assert segmentation_loss(logits, labels, kind="dice", hard_pixels=HardPixels()) == dice(logits, labels)


def test_dice_of_a_certain_and_right_prediction_is_nothing_and_of_a_wrong_one_is_one() -> None:
    labels = _labels(0)
    right = 100 * functional.one_hot(labels % CLASSES, CLASSES).movedim(-1, 1).double()
    wrong = 100 * functional.one_hot((labels + 1) % CLASSES, CLASSES).movedim(-1, 1).double()
    assert dice(right, labels).item() == pytest.approx(0, abs=1e-12)
    assert dice(wrong, labels).item() == pytest.approx(1, abs=1e-12)


def test_gradients_of_dice_pass_ignored_pixels_by() -> None:
    labels, logits = _labels(3), _logits(3).requires_grad_()
    assert gradcheck(lambda given: dice(given, labels), (logits,))
    dice(logits, labels).backward()
    assert torch.equal((logits.grad != 0).any(dim=1), labels != IGNORE)
    nothing = _logits(0).requires_grad_()
    loss = dice(nothing, torch.full((2, 4, 6), IGNORE))
    loss.backward()
    assert loss.item() == 0
    assert (nothing.grad == 0).all()


def test_dice_of_several_processes_adds_up_to_that_of_one() -> None:
    """Each has one image; sums go over both, and so do the gradients."""
    logits, labels = _logits(1).requires_grad_(), _labels(1)
    whole = dice(logits, labels)
    (expected,) = torch.autograd.grad(whole, logits)
    sums: list[Tensor] = []
    for image in range(2):
        dice(logits[image : image + 1], labels[image : image + 1], gather=lambda own: sums.append(own) or own)  # type: ignore[func-returns-value]
    parts = [
        dice(
            logits[image : image + 1],
            labels[image : image + 1],
            gather=lambda own, other=sums[1 - image]: torch.cat([own, other]),
        )  # type: ignore[misc]
        for image in range(2)
    ]
    torch.testing.assert_close(sum(parts), whole)
    torch.testing.assert_close(torch.autograd.grad(sum(parts), logits)[0], expected)


def test_distillation_is_the_divergence_of_student_from_teacher() -> None:
    student, teacher = _logits(4), _logits(5)
    p, q = student.softmax(1), (teacher / 2).softmax(1)
    expected = (p * (p / q).log()).sum(1).mean()
    torch.testing.assert_close(distillation(student, teacher, teacher_temperature=2.0), expected)


def test_the_other_direction_is_that_of_torch_per_pixel() -> None:
    student, teacher = _logits(4), _logits(5)
    expected = functional.kl_div(student.log_softmax(1), teacher.softmax(1), reduction="sum") / (2 * 4 * 6)
    torch.testing.assert_close(distillation(student, teacher, direction="teacher_student"), expected)
    assert not torch.isclose(distillation(student, teacher), expected)


def test_a_student_like_its_teacher_has_nothing_to_learn() -> None:
    teacher = _logits(6)
    student = (teacher + 3.0).requires_grad_()  # probabilities are the same
    loss = distillation(student, teacher)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-12)
    torch.testing.assert_close(student.grad, torch.zeros_like(student))


@pytest.mark.parametrize("direction", ["student_teacher", "teacher_student"])
def test_gradients_of_distillation_reach_the_student_alone(direction: str) -> None:
    teacher = _logits(7).requires_grad_()
    student = _logits(8).requires_grad_()
    assert gradcheck(lambda logits: distillation(logits, teacher.detach(), direction=direction), (student,))
    distillation(student, teacher, direction=direction).backward()
    assert teacher.grad is None


def test_shapes_that_do_not_fit_are_named() -> None:
    with pytest.raises(ShapeError, match=r"\(2, 8, 12\); logits of shape \(2, 5, 4, 6\) need \(2, 4, 6\)"):
        hard_pixel_cross_entropy(_logits(0), torch.zeros(2, 8, 12, dtype=torch.int64))
    with pytest.raises(ShapeError, match=r"student have shape \(2, 5, 4, 6\), of the teacher \(1, 5, 4, 6\)"):
        distillation(_logits(0), _logits(0)[:1])
