"""A search and a training step by the optimisers, and lose by the loss, that their configurations name."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from models.spaces.search_defaults import ArchitectureOptimizer, OptimizerConfig, SearchDefaults, SearchOptimizer
from nas_client.data.transforms import Batch
from nas_client.search.config import SearchConfig
from nas_client.search.progress import RngKey
from nas_client.train.losses import dice
from nas_client.train.optimizers import optimizer_of
from tests.support.searches import prepared, small


def test_defaults_are_sgd_for_weights_and_adam_for_the_architecture() -> None:
    weights = [nn.Parameter(torch.zeros(2))]
    sgd, adam = (optimizer_of(settings, weights) for settings in (SearchOptimizer(), ArchitectureOptimizer()))
    assert isinstance(sgd, torch.optim.SGD)
    assert (sgd.defaults["lr"], sgd.defaults["momentum"], sgd.defaults["weight_decay"]) == (0.01, 0.9, 5e-4)
    assert isinstance(adam, torch.optim.Adam)
    assert (adam.defaults["lr"], adam.defaults["betas"], adam.defaults["weight_decay"]) == (3e-4, (0.5, 0.999), 0.0)
    other = optimizer_of(OptimizerConfig(method="adam", lr=1e-3), weights)
    assert isinstance(other, torch.optim.Adam)
    assert other.defaults["betas"] == (0.9, 0.999)


def test_a_search_steps_and_loses_as_it_is_configured() -> None:
    """As a space may say in its defaults: Adam for the weights, SGD for the architecture, Dice."""
    config = small(
        search__optimizer={"method": "adam", "lr": 1e-3}, search__architecture={"method": "sgd", "lr": 0.1}, loss="dice"
    )
    learner = prepared(config)
    torch.manual_seed(0)
    batch = Batch(torch.randn(2, 3, 64, 64), torch.randint(19, (2, 64, 64)))
    before = [tensor.clone() for tensor in learner.networks["student"].optimized]
    losses = learner.step([batch, batch], RngKey(5), "here", step=0, steps=4)
    state = learner.state()
    assert "exp_avg" in next(iter(state["weight_optimizer"]["state"].values()))
    assert "momentum_buffer" in next(iter(state["architecture_optimizers"]["student"]["state"].values()))
    assert all(0 < losses[name] < 1 for name in ("weights_student", "architecture_teacher")), "cross-entropy begins at ln 19"
    assert any((tensor != first).any() for tensor, first in zip(learner.networks["student"].optimized, before, strict=True))
    mixture = learner.networks["student"].widest_connections()
    with torch.no_grad():
        scores = learner.passes.predict(batch.images, mixture, "student").combined.values()
        expected = sum(dice(of_one, batch.labels) for of_one in scores)
        torch.testing.assert_close(learner.passes.loss(batch, mixture, "student"), expected)


def test_a_space_may_state_all_of_it() -> None:
    stated = SearchDefaults.parse(
        {"loss": "dice", "search": {"optimizer": {"method": "adam"}}, "training": {"losses": {"kind": "dice"}}}
    )
    config = SearchConfig.parse(stated.model_dump(exclude={"training"}))
    assert (config.loss, config.search.optimizer.method, stated.training.losses.kind) == ("dice", "adam", "dice")
    with pytest.raises(ValueError, match="method"):
        SearchConfig.parse({"search": {"optimizer": {"method": "lion"}}})
