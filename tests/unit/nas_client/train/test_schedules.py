from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, ExponentialLR, LambdaLR, LRScheduler, PolynomialLR

from models.spaces.search_defaults import Scheduled
from nas_client.train.schedules import poly_factor, rate_factor


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


EPOCHS, STEPS = 3, 12
SCHEDULES = {
    "poly": lambda optimiser: PolynomialLR(optimiser, STEPS, power=0.7),
    "cosine": lambda optimiser: CosineAnnealingLR(optimiser, STEPS),
    "exponential": lambda optimiser: ExponentialLR(optimiser, 0.5),
    "constant": lambda optimiser: LambdaLR(optimiser, lambda _: 1.0),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_are_torchs(name: str) -> None:
    """Ours follow from the step alone; torch's go from step to step, the exponential one from epoch to epoch."""
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.02)
    reference: LRScheduler = SCHEDULES[name](optimiser)
    ours = Scheduled.parse({"schedule": name, "power": 0.7, "decay": 0.5})
    for step in range(STEPS):
        factor = rate_factor(ours, step, STEPS, epochs=EPOCHS)
        assert 0.02 * factor == pytest.approx(optimiser.param_groups[0]["lr"], rel=1e-9)
        assert rate_factor(ours, step, STEPS, epochs=EPOCHS, warmup=3) == pytest.approx(factor * min(1, (step + 1) / 4))
        optimiser.step()
        if name != "exponential" or (step + 1) % (STEPS // EPOCHS) == 0:
            reference.step()
