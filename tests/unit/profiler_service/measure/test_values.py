"""On a synthetic host whose true times are known, a value is near the truth where the plain median is not."""

from __future__ import annotations

import random
from typing import Any

import pytest

from profiler_service.measure.groups import GroupLimits, Member, draw_groups
from profiler_service.measure.statistics import median
from profiler_service.measure.values import RoundValue, VisitMedian, counted_rounds, round_values
from profiler_service.measure.visits import Visit

BASES = [Member(f"base{index}", 1) for index in range(6)]
ENTRIES = [Member(f"entry{index}", 1, BASES[index % 6]) for index in range(150)]
TRUE_MS = {member.key: 0.05 + 0.01 * index for index, member in enumerate(ENTRIES)}
BASE_MS = {member.key: 0.02 + 0.005 * index for index, member in enumerate(BASES)}
LIMITS = GroupLimits(min_live=24, max_live=48, memory_bytes=10**9)


def engine_times() -> dict[str, float]:
    """Each entry's engine contains its context."""
    return BASE_MS | {member.key: TRUE_MS[member.key] + BASE_MS[member.base.key] for member in ENTRIES if member.base}


def measured_in_turn(host: Any, *, rounds: int = 5) -> list[Visit]:
    rng = random.Random(0)
    visits: list[Visit] = []
    for number in range(rounds):
        for index, group in enumerate(draw_groups(ENTRIES, [], LIMITS, rng)):
            visits += host.visit(group.keys, number=number, visit=index)
    return visits


def relative_errors(visits: list[Visit], reference_ms: float | None) -> dict[str, float]:
    by_key: dict[str, list[VisitMedian]] = {}
    for visit in visits:
        by_key.setdefault(visit.graph_key, []).append(VisitMedian.of(visit))
    errors = {}
    for member in ENTRIES:
        assert member.base is not None
        rounds = round_values(by_key[member.key], by_key[member.base.key], reference_ms)
        value_ms = median([round_value.value_ms for round_value in rounds])
        errors[member.key] = abs(value_ms / TRUE_MS[member.key] - 1)
    return errors


@pytest.mark.parametrize("run", ["noisy", "bimodal"])
@pytest.mark.parametrize("slowdown", ["slow_phases", "drift"])
def test_sentinel_units_keep_the_value_near_the_truth_where_plain_times_do_not(
    synthetic_host: Any, slowdown: str, run: str
) -> None:
    host = synthetic_host(engine_times(), slowdown=slowdown, run=run)
    visits = measured_in_turn(host)
    truth = host.SENTINEL_MS  # so that an error is one of normalisation alone, not of the choice of the reference
    normalised, plain = relative_errors(visits, truth), relative_errors(visits, None)
    assert median(list(normalised.values())) < 0.01
    assert max(normalised.values()) < 0.04
    assert median(list(plain.values())) > 3 * median(list(normalised.values()))
    assert max(plain.values()) > 0.08


def test_a_quiet_host_gives_the_same_with_and_without_sentinel_units(synthetic_host: Any) -> None:
    host = synthetic_host(engine_times(), slowdown="quiet")
    visits = measured_in_turn(host)
    assert max(relative_errors(visits, host.SENTINEL_MS).values()) < 0.05
    assert max(relative_errors(visits, None).values()) < 0.05


def test_a_round_subtracts_the_median_of_its_base_visits() -> None:
    """Bases are visited by several groups of a round; the sentinel scales every visit on its own."""
    engine = [
        VisitMedian(round=0, visit=0, median_ms=2.2, sentinel_ms=0.33),
        VisitMedian(round=1, visit=0, median_ms=2.0, sentinel_ms=0.30),
    ]
    base = [
        VisitMedian(round=0, visit=0, median_ms=0.55, sentinel_ms=0.33),
        VisitMedian(round=0, visit=0, median_ms=0.9, sentinel_ms=0.30),
        VisitMedian(round=0, visit=0, median_ms=0.4, sentinel_ms=0.30),
        VisitMedian(round=1, visit=0, median_ms=0.6, sentinel_ms=0.30),
    ]
    first, second = round_values(engine, base, 0.30)
    assert first.value_ms == pytest.approx(2.0 - 0.5)
    assert first.base_ms == pytest.approx(0.5)
    assert first.plain_ms == pytest.approx(2.2 - 0.55)
    assert second == RoundValue(round=1, value_ms=2.0 - 0.6, plain_ms=2.0 - 0.6, base_ms=0.6, sentinel_ms=0.30)


def test_of_a_base_only_accepted_visits_count_while_there_are_any() -> None:
    engine = [VisitMedian(round=0, visit=0, median_ms=2.0, sentinel_ms=0.3)]
    rejected = VisitMedian(round=0, visit=1, median_ms=0.9, sentinel_ms=0.5, accepted=False)
    accepted = VisitMedian(round=0, visit=0, median_ms=0.5, sentinel_ms=0.3)
    (good,) = round_values(engine, [accepted, rejected, rejected], None)
    assert (good.base_ms, good.accepted) == (0.5, True)
    (kept,) = round_values(engine, [rejected], None)
    assert (kept.base_ms, kept.accepted) == (0.9, False)


def test_accepted_rounds_count_alone_once_there_are_enough() -> None:
    def number(round_: int, *, accepted: bool) -> RoundValue:
        return RoundValue(round_, value_ms=1.0, plain_ms=1.0, base_ms=0.0, sentinel_ms=0.3, accepted=accepted)

    rounds = [number(0, accepted=True), number(1, accepted=False), number(2, accepted=True)]
    assert [counted.round for counted in counted_rounds(rounds, 2)] == [0, 2]
    assert counted_rounds(rounds, 3) == rounds


def test_rounds_without_the_base_do_not_count() -> None:
    engine = [VisitMedian(round=number, visit=0, median_ms=2.0, sentinel_ms=0.3) for number in range(3)]
    base = [VisitMedian(round=1, visit=0, median_ms=0.5, sentinel_ms=0.3)]
    assert [round_value.round for round_value in round_values(engine, base, 0.3)] == [1]
    assert [round_value.round for round_value in round_values(engine, None, 0.3)] == [0, 1, 2]


def test_without_a_reference_nothing_is_scaled() -> None:
    (round_value,) = round_values([VisitMedian(round=0, visit=0, median_ms=2.0, sentinel_ms=9.9)], None, None)
    assert (round_value.value_ms, round_value.plain_ms, round_value.base_ms) == (2.0, 2.0, 0.0)
