"""Which visits the sentinel lets stand."""

from __future__ import annotations

from profiler_service.measure.sentinel import SentinelGate, Verdict


def test_up_to_eight_percent_above_the_best_is_accepted() -> None:
    gate = SentinelGate(repeat_share=1.0)
    assert gate.judge(1.00, attempt=0) is Verdict.ACCEPT
    assert gate.judge(1.079, attempt=0) is Verdict.ACCEPT
    assert gate.judge(1.081, attempt=0) is Verdict.REPEAT


def test_the_best_is_the_best_so_far() -> None:
    gate = SentinelGate(repeat_share=1.0)
    assert gate.judge(1.20, attempt=0) is Verdict.ACCEPT
    assert gate.judge(1.00, attempt=0) is Verdict.ACCEPT
    assert gate.judge(1.20, attempt=0) is Verdict.REPEAT


def test_a_job_that_begins_in_a_slow_phase_knows_it_by_the_tables_reference() -> None:
    gate = SentinelGate(repeat_share=1.0, reference_ms=1.0)
    assert gate.judge(1.3, attempt=0) is Verdict.REPEAT
    assert gate.judge(0.9, attempt=0) is Verdict.ACCEPT
    assert gate.judge(1.0, attempt=0) is Verdict.REPEAT


def test_a_visit_is_repeated_twice_at_most() -> None:
    gate = SentinelGate(repeat_share=1.0)
    gate.judge(1.0, attempt=0)
    assert [gate.judge(1.15, attempt=attempt) for attempt in range(3)] == [Verdict.REPEAT, Verdict.REPEAT, Verdict.FLAG]


def test_a_repeat_in_a_fast_phase_is_accepted() -> None:
    gate = SentinelGate(repeat_share=1.0)
    gate.judge(1.0, attempt=0)
    assert gate.judge(1.15, attempt=0) is Verdict.REPEAT
    assert gate.judge(1.02, attempt=1) is Verdict.ACCEPT


def test_a_host_that_slows_down_for_good_costs_a_bounded_number_of_repeats() -> None:
    gate = SentinelGate(repeat_share=0.2)
    gate.judge(1.0, attempt=0)
    attempts = 0
    for _ in range(100):
        for attempt in range(3):
            attempts += 1
            if gate.judge(1.15, attempt=attempt) is Verdict.FLAG:
                break
    assert 100 + 15 <= attempts <= 100 + 24
