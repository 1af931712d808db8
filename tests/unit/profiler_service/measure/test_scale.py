"""The scale of a target, learned from synthetic visits."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest

from models.spec.scale import Scale
from profiler_service.measure.sentinel import LEAST_QUIET, SLOW, SentinelVisit, is_slow, learn_scale
from tests.support.table_samples import A_TIME

QUIET_MS = 0.333
NOISE = 0.01


def visits(
    rng: np.random.Generator,
    count: int,
    *,
    slow: float = 1.0,
    spread: float = NOISE,
    day: int = 0,
    seen: bool = True,
    disturbed: bool = False,
) -> list[SentinelVisit]:
    """A session of visits in which everything takes `slow` times as long."""
    times = QUIET_MS * slow * rng.lognormal(0.0, spread, count)
    return [
        SentinelVisit(float(ms), A_TIME + timedelta(days=day, seconds=index), disturbed=disturbed, seen=seen)
        for index, ms in enumerate(times)
    ]


def learned(found: list[SentinelVisit], before: Scale | None = None) -> Scale:
    scale = learn_scale(found, before, at=A_TIME)
    assert scale is not None
    return scale


@pytest.mark.parametrize("seed", range(5))
def test_a_first_job_on_a_busy_machine_decides_nothing(seed: int) -> None:
    """Sixty slow visits before ten quiet ones; in the other order; and mixed."""
    rng = np.random.default_rng(seed)
    busy, quiet = visits(rng, 60, slow=1.39, spread=0.06), visits(rng, 10, day=1)
    for found in (busy + quiet, quiet + busy, [*busy[:30], *quiet, *busy[30:]]):
        scale = learned(found)
        assert scale.settled
        assert scale.reference_ms == pytest.approx(QUIET_MS, rel=0.02)
        assert 8 <= scale.quiet <= 12


@pytest.mark.parametrize("seed", range(5))
def test_more_visits_do_not_pull_it_down(seed: int) -> None:
    """The least of many would fall without end; the level does not."""
    rng = np.random.default_rng(seed)
    few, many = learned(visits(rng, 30)), learned(visits(rng, 5000))
    assert few.reference_ms == pytest.approx(QUIET_MS, rel=0.01)
    assert many.reference_ms == pytest.approx(QUIET_MS, rel=0.005)


def test_one_odd_visit_is_no_level() -> None:
    rng = np.random.default_rng(0)
    odd = SentinelVisit(0.2, A_TIME)
    assert learned([odd, *visits(rng, 100)]).reference_ms == pytest.approx(QUIET_MS, rel=0.01)


def test_visits_beside_others_do_not_count_as_quiet() -> None:
    rng = np.random.default_rng(0)
    scale = learned(visits(rng, 40, slow=1.2, disturbed=True))
    assert not scale.settled
    assert "0 of 40 visits were quiet" in scale.unsettled
    assert "profile" in scale.unsettled
    assert learned([*visits(rng, 40, slow=1.2, disturbed=True), *visits(rng, 10)]).settled


def test_too_few_visits_are_not_settled() -> None:
    rng = np.random.default_rng(0)
    assert not learned(visits(rng, LEAST_QUIET - 1)).settled
    assert learned(visits(rng, LEAST_QUIET)).settled


def test_visits_of_earlier_releases_must_agree_better() -> None:
    """Nobody looked at what else the machine did."""
    rng = np.random.default_rng(1)
    scattered = visits(rng, 50, slow=1.4, spread=0.12, seen=False)
    assert "visits disagree" in learned(scattered).unsettled
    assert learned(visits(rng, 50, seen=False)).settled


@pytest.mark.parametrize("sessions", [1, 2, 5])
def test_its_error_covers_what_sessions_differ_by(sessions: int) -> None:
    """Over many targets, the reference is within two of its standard errors of the truth in 95 % of cases, or nearly."""
    rng = np.random.default_rng(sessions)
    hits = 0
    for _ in range(200):
        found = [
            visit
            for day in range(sessions)
            for visit in visits(rng, 20, slow=float(rng.lognormal(0.0, 0.008)), spread=0.005, day=day)
        ]
        scale = learned(found)
        hits += abs(scale.reference_ms - QUIET_MS) <= 2.2 * scale.stderr_ms
    assert hits >= 0.85 * 200  # 0.0 to 0.3 % of bias towards the fastest session included


@pytest.mark.parametrize("sessions", [1, 2, 3, 12])
def test_sessions_that_agree_by_chance_leave_the_least_error(sessions: int) -> None:
    found = [
        SentinelVisit(QUIET_MS, A_TIME + timedelta(days=day, seconds=index)) for day in range(sessions) for index in range(20)
    ]
    assert learned(found).relative_stderr == pytest.approx(0.01 / sessions**0.5)


def test_history_goes_on() -> None:
    rng = np.random.default_rng(0)
    first = visits(rng, 20, slow=1.3)
    before = learned(first)
    after = learned([*first, *visits(rng, 20, day=1)], before)
    assert [point.visits for point in after.history] == [20, 40]
    assert after.history[0].reference_ms == before.reference_ms > 1.2 * after.reference_ms


def test_nothing_to_learn_from() -> None:
    assert learn_scale([], None, at=A_TIME) is None
    kept = Scale(reference_ms=1.0)
    assert learn_scale([], kept, at=A_TIME) is kept


def test_slow_is_told_by_a_settled_scale_alone() -> None:
    settled = Scale(reference_ms=1.0)
    unsettled = Scale(reference_ms=1.0, unsettled="why")
    assert is_slow(1.01 + SLOW, settled)
    assert not is_slow(0.99 + SLOW, settled)
    assert not is_slow(2.0, unsettled)
    assert not is_slow(2.0, None)
