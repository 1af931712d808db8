"""Gumbel samples: how often a choice is drawn, and what gradient passes through."""

from __future__ import annotations

import pytest
import torch

from nas_client.errors import ParameterError
from nas_client.latency.relaxation import Gumbel, expected

LOGITS = torch.tensor([[0.0, 1.0, 2.0], [1.0, 1.0, -3.0]], dtype=torch.float64)


@pytest.mark.parametrize("temperature", [0.3, 1.0, 5.0])
def test_choices_are_drawn_with_their_softmax_probability_whatever_the_temperature(temperature: float) -> None:
    draws = 20_000
    sampler = Gumbel(temperature, torch.Generator().manual_seed(0))
    mean = sampler(LOGITS.repeat(draws, 1)).view(draws, *LOGITS.shape).mean(0)
    # Six binomial proportions, each within 5 standard errors.
    error = (expected(LOGITS) * (1 - expected(LOGITS)) / draws).sqrt()
    assert bool(((mean - expected(LOGITS)).abs() < 5 * error).all())


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_gradients_are_those_of_the_tempered_softmax(temperature: float) -> None:
    cost = torch.tensor([1.0, 10.0, 100.0], dtype=torch.float64)
    logits = LOGITS.clone().requires_grad_()
    sample = Gumbel(temperature, torch.Generator().manual_seed(3))(logits)
    (straight_through,) = torch.autograd.grad((sample * cost).sum(), logits)
    noise = -torch.empty_like(LOGITS).exponential_(generator=torch.Generator().manual_seed(3)).log()
    soft = torch.softmax((logits + noise) / temperature, dim=-1)
    (tempered,) = torch.autograd.grad((soft * cost).sum(), logits)
    assert sample.sort(dim=-1).values.tolist() == [[0, 0, 1], [0, 0, 1]]
    torch.testing.assert_close(straight_through, tempered)
    assert float(straight_through.abs().sum()) > 0


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("inf"), float("nan")])
def test_a_temperature_that_is_none_is_refused(temperature: float) -> None:
    with pytest.raises(ParameterError, match="temperature"):
        Gumbel(temperature)
