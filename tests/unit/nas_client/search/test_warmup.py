"""Epochs of a search in which the weights train alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from models.spec.errors import InvalidSpecError
from nas_client.runs.journal import read_journal
from nas_client.search.config import SearchConfig
from nas_client.search.cosearch import LAST, search
from nas_client.search.epochs import SearchEpoch
from tests.support.searches import StopAfter, prepared, small, small_table


def warming(**changes: Any) -> SearchConfig:
    """One step an epoch, of which the first is warm-up; one head."""
    few = {"pretrain__epochs": 0, "data__train_images": 4, "evaluation__every": 10, "heads": ["8,32"]}
    return small(**{**few, "search__warmup_epochs": 1, "checkpoint_steps": 1, **changes})


def learned(folder: Path) -> dict[str, Any]:
    state: dict[str, Any] = torch.load(folder / "checkpoints" / f"{LAST}.pt", weights_only=True)["state"]["learner"]
    return state


def test_architectures_move_only_after_the_warm_up_and_a_stopped_one_goes_on_exactly(tmp_path: Path) -> None:
    config, table, folder = warming(), small_table(), tmp_path / "run"
    assert not search(config, table, folder, watch=StopAfter(1)).finished
    start = prepared(config).networks
    for stopped in (None, StopAfter(1)):  # the second ends with the step after the warm-up
        if stopped is not None:
            assert not search(config, table, folder, resume=True, watch=stopped).finished
        moved = {
            role: not torch.equal(state["alpha"], start[role].state()["alpha"])
            for role, state in learned(folder)["networks"].items()
        }
        assert set(moved.values()) == {stopped is not None}
    search(config, table, folder, resume=True)
    warm, searched = read_journal(folder, SearchEpoch)
    assert (warm.warmup, searched.warmup) == (True, False)
    assert set(warm.losses) == {"weights_student", "weights_teacher"}
    assert {"architecture_student", "architecture_teacher", "latency"} < set(searched.losses)
    assert (warm.latency_factor, warm.latency_ratio, warm.judged_ms) == (None, None, None)
    assert warm.steps == searched.steps == 1

    search(config, table, tmp_path / "whole")
    mine, whole = learned(folder), learned(tmp_path / "whole")
    assert all(torch.equal(tensor, whole["supernet"][name]) for name, tensor in mine["supernet"].items())
    for role, state in mine["networks"].items():
        assert all(torch.equal(tensor, whole["networks"][role][name]) for name, tensor in state.items())


def test_the_architectures_rate_begins_after_the_warm_up() -> None:
    config = warming(search__epochs=3, search__architecture={"schedule": "poly", "power": 1.0, "lr": 0.5}, latency__mode="none")
    learner = prepared(config)
    rates = []
    for step in (2, 3, 4, 5):  # of two in an epoch
        learner._set_architecture_rate(step, 6)
        rates += [group["lr"] for group in learner._architecture_optimizers["student"].param_groups]
    assert rates == pytest.approx([0.5, 0.375, 0.25, 0.125])


def test_a_warm_up_that_leaves_nothing_to_search_is_refused() -> None:
    with pytest.raises(InvalidSpecError, match="warmup_epochs is 2 of 2 epochs") as caught:
        small(search__warmup_epochs=2)
    assert "Set warmup_epochs to 1 or fewer" in str(caught.value.hint)
    with pytest.raises(InvalidSpecError, match=r"search\.warmup_epochs is stated, but method evolution does not use it"):
        small(method="evolution", search__warmup_epochs=1)
    assert small().search.warmup_epochs == 0
