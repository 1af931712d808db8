from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from nas_client.train.config import HardPixels, LossConfig
from nas_client.train.losses import distillation, hard_pixel_cross_entropy, objective
from nas_client.train.networks import Scores

LOSSES = LossConfig(auxiliary=0.4, distillation=2.0, hard_pixels=HardPixels(threshold=0.3), teacher_temperature=3.0)


def _logits(seed: int) -> Tensor:
    return torch.randn(2, 5, 4, 6, generator=torch.Generator().manual_seed(seed)).requires_grad_()


LABELS = torch.randint(5, (2, 4, 6), generator=torch.Generator().manual_seed(9))


def test_terms_are_weighted_and_add_up() -> None:
    combined, first, second, teacher = (_logits(seed) for seed in range(4))
    terms = objective(Scores(combined, (first, second)), LABELS, teacher, LOSSES)
    segmentation, *auxiliary = (hard_pixel_cross_entropy(logits, LABELS, threshold=0.3) for logits in (combined, first, second))
    divergence = distillation(combined, teacher, teacher_temperature=3.0)
    torch.testing.assert_close(terms.segmentation, segmentation)
    torch.testing.assert_close(terms.auxiliary, 0.4 * sum(auxiliary))
    torch.testing.assert_close(terms.distillation, 2.0 * divergence)
    torch.testing.assert_close(terms.total, segmentation + 0.4 * sum(auxiliary) + 2.0 * divergence)


def test_without_heads_and_teacher_only_segmentation_is_left() -> None:
    terms = objective(Scores(_logits(0), ()), LABELS, None, LOSSES)
    assert (terms.auxiliary.item(), terms.distillation.item()) == (0, 0)
    assert terms.total == terms.segmentation > 0


def test_the_teacher_takes_no_gradient_and_heads_do_not_learn_from_it() -> None:
    combined, head, teacher = _logits(0), _logits(1), _logits(2)
    objective(Scores(combined, (head,)), LABELS, teacher, LOSSES).distillation.backward()
    assert combined.grad is not None
    assert combined.grad.any()
    assert teacher.grad is None
    assert head.grad is None


def test_where_another_process_has_the_same_images_each_part_is_half() -> None:
    combined, head, teacher = _logits(0), _logits(1), _logits(2)

    def named(**shared: Any) -> dict[str, Tensor]:
        return objective(Scores(combined, (head,)), LABELS, teacher, LOSSES, **shared).named()

    whole, part = named(), named(gather=lambda tensor: torch.cat([tensor, tensor]), ranks=2)
    for name, value in whole.items():
        torch.testing.assert_close(part[name], value / 2)
