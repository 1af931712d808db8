"""λ that follows a target, and what is said of λ where it weighs too much or too little."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from models.spec.errors import InvalidSpecError
from nas_client.runs.journal import read_journal
from nas_client.search.cosearch import search
from nas_client.search.epochs import SearchEpoch
from nas_client.search.latency_factor import LatencyFactor, latency_warning
from tests.support.run_samples import search_epoch
from tests.support.searches import StopAfter, small, small_table

TARGET = {"latency__target_ms": 8.0, "latency__band": 0.25}


def factor(**changes: Any) -> LatencyFactor:
    return LatencyFactor(small(latency__factor=0.01, **changes))


def test_it_is_doubled_above_the_band_and_halved_below() -> None:
    held = factor(**TARGET)
    found = []
    for judged_ms in (12.0, 10.1, 10.0, 8.0, 6.0, 5.9):
        held.follow(judged_ms)
        found.append(held.value)
    assert found == [0.02, 0.04, 0.04, 0.04, 0.04, 0.02]


def test_it_is_judged_by_the_network_that_the_search_would_end_in() -> None:
    """Once the supernet was evaluated; until then by the mean of all."""
    networks = [
        network.model_copy(update={"estimate_ms": ms})
        for network, ms in zip(search_epoch(1).decoded["student"], (3.0, 4.0, 8.0), strict=True)
    ]
    held = factor(**TARGET)
    assert held.judge(networks, {}) == 5.0
    assert held.judge(networks, {"8,16": 0.1, "8,32": 0.5, "16,32": 0.2}) == 4.0
    assert held.judge(networks, {}) == 4.0  # not evaluated this time
    again = factor(**TARGET)
    again.restore(held.state())
    assert again.judge(networks, {}) == 4.0
    assert factor().judge(networks, {"8,16": 0.1}) is None


@pytest.mark.parametrize(("ratio", "what"), [(None, None), (1e-4, "vanishes"), (2e-3, None), (0.9, None), (1.5, "dominates")])
def test_what_is_said_of_it(ratio: float | None, what: str | None) -> None:
    found = latency_warning(search_epoch(1).model_copy(update={"latency_ratio": ratio, "latency_factor": 0.01}))
    assert (found and found.what) == what
    if found is not None:
        assert "latency.factor" in found.text


@pytest.mark.parametrize("changes", [{"latency__target_ms": 8.0}, {"heads": ("8,32",)}])
def test_an_evolution_has_neither_a_factor_nor_heads_of_its_own(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidSpecError, match="but method evolution does not use it"):
        small(method="evolution", **changes)


@pytest.mark.parametrize("changes", [{"latency__mode": "none"}, {"latency__factor": 0.0}])
def test_a_target_that_no_factor_can_lead_to_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidSpecError, match="target_ms is 8"):
        small(latency__target_ms=8.0, **changes)


def test_a_search_that_was_stopped_goes_on_with_its_factor(tmp_path: Path) -> None:
    """With heads that are named, γ at both ends and an exponential rate. The target is far below what there is."""
    changes: dict[str, Any] = {
        "latency__target_ms": 1e-6,
        "pretrain__epochs": 0,
        "search__width_gradients": "both",
        "search__optimizer": {"schedule": "exponential", "decay": 0.5},
        "heads": ("8", "8,32", "16,32"),
        "data__train_images": 4,
        "label_stride": 8,
    }
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    result = search(small(**changes), small_table(), whole)
    lines = read_journal(whole, SearchEpoch)
    assert [line.latency_factor for line in lines] == [0.01, 0.02]
    assert all(line.judged_ms is not None and line.latency_ratio is not None for line in lines)
    assert set(lines[0].mean_iou["student"]) == {"8", "8,32", "16,32"}
    assert {c.alternative: c.accuracy is None for c in result.candidates["student"]} == {
        "8,16": True,
        "8,32": False,
        "16,32": False,
    }
    assert result.chosen["student"] != "8,16"

    stopped = search(small(**changes), small_table(), parts, watch=StopAfter(2))
    assert not stopped.finished
    assert search(small(**changes), small_table(), parts, resume=True).candidates == result.candidates
    again = read_journal(parts, SearchEpoch)
    times = {"seconds", "latency_share"}
    assert [line.model_dump(exclude=times) for line in again] == [line.model_dump(exclude=times) for line in lines]


@pytest.mark.parametrize(
    ("heads", "said"),
    [(("8,9",), r"head \(of heads\) '8,9'"), (("8,32", "8,32"), "named twice"), (("8", "16"), "can end in none of them")],
)
def test_heads_that_cannot_be(tmp_path: Path, heads: tuple[str, ...], said: str) -> None:
    with pytest.raises(InvalidSpecError, match=said):
        search(small(heads=heads), small_table(), tmp_path)
