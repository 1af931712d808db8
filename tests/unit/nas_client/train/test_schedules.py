from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch.optim.lr_scheduler import LambdaLR

from nas_client.train.config import poly_factor


def test_it_falls_from_one_to_zero() -> None:
    factors = [poly_factor(step, 100) for step in range(101)]
    assert [factors[0], factors[100]] == [1.0, 0.0]
    assert factors[50] == pytest.approx(0.5**0.9)
    assert all(later < earlier for earlier, later in pairwise(factors))
    assert poly_factor(250, 1000, power=2.0) == pytest.approx(0.5625)


def test_it_warms_up_to_the_decay_and_follows_it() -> None:
    warm, cold = ([poly_factor(step, 100, warmup=warmup) for step in range(100)] for warmup in (4, 0))
    assert [value / other for value, other in zip(warm[:5], cold, strict=False)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert warm[4:] == cold[4:]


def test_an_optimiser_takes_it() -> None:
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.02)
    schedule = LambdaLR(optimiser, lambda step: poly_factor(step, 4))
    rates = []
    for _ in range(4):
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        schedule.step()
    assert rates == pytest.approx([0.02 * (1 - step / 4) ** 0.9 for step in range(4)])
    assert optimiser.param_groups[0]["lr"] == 0
