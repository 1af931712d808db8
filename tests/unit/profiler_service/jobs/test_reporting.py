"""What a job says of the time it needs is never absurd."""

from __future__ import annotations

import random

from profiler_service.jobs.reporting import Throttle, Work, WorkEstimate


def test_nothing_is_said_before_anything_was_done() -> None:
    estimate = WorkEstimate()
    estimate.expect(Work.VISIT, 100)
    assert estimate.eta_s is None
    assert estimate.fraction == 0.0


def test_the_time_left_follows_the_measured_rate() -> None:
    estimate = WorkEstimate()
    estimate.expect(Work.VISIT, 100)
    estimate.did(Work.VISIT, 20, 2.0)
    assert estimate.eta_s == 8.0
    assert estimate.fraction == 0.2
    estimate.did(Work.VISIT, 0, 2.0)
    assert estimate.eta_s == 16.0


def test_work_not_begun_is_taken_to_cost_as_much_as_that_known() -> None:
    estimate = WorkEstimate()
    estimate.expect(Work.BUILD, 10)
    estimate.expect(Work.VISIT, 50)
    estimate.did(Work.BUILD, 5, 1.0)
    assert estimate.eta_s == 55 * 0.2
    estimate.did(Work.VISIT, 25, 1.0)
    assert estimate.eta_s == 5 * 0.2 + 25 * 0.04


def test_the_fraction_never_falls_although_more_work_turns_up() -> None:
    rng = random.Random(0)
    estimate = WorkEstimate()
    before = 0.0
    for _ in range(200):
        estimate.expect(Work.VISIT, rng.uniform(0, 100))
        estimate.did(Work.VISIT, rng.uniform(0, 20), rng.uniform(-1, 3))
        assert before <= estimate.fraction <= 1.0
        assert estimate.eta_s is not None
        assert estimate.eta_s >= 0.0
        before = estimate.fraction


def test_the_throttle_lets_few_through() -> None:
    now_s = 0.0
    throttle = Throttle(interval_s=0.3, clock=lambda: now_s)
    passed = []
    for tick in range(100):
        now_s = tick * 0.01
        if throttle.ready():
            passed.append(tick)
    assert passed == [0, 30, 60, 90]
