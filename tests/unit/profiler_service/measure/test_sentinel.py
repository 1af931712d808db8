"""Which visits the sentinel lets stand."""

from __future__ import annotations

from profiler_service.measure.sentinel import BUSY_FOR_GOOD, SentinelGate, VisitDecision


def test_up_to_eight_percent_above_the_best_is_accepted() -> None:
    gate = SentinelGate(repeat_share=1.0)
    assert gate.decide(1.00, attempt=0) is VisitDecision.ACCEPT
    assert gate.decide(1.079, attempt=0) is VisitDecision.ACCEPT
    assert gate.decide(1.081, attempt=0) is VisitDecision.REPEAT


def test_the_best_is_the_best_so_far() -> None:
    gate = SentinelGate(repeat_share=1.0)
    assert gate.decide(1.20, attempt=0) is VisitDecision.ACCEPT
    assert gate.decide(1.00, attempt=0) is VisitDecision.ACCEPT
    assert gate.decide(1.20, attempt=0) is VisitDecision.REPEAT


def test_a_job_that_begins_in_a_slow_phase_knows_it_by_the_tables_reference() -> None:
    gate = SentinelGate(repeat_share=1.0, reference_ms=1.0)
    assert gate.decide(1.3, attempt=0) is VisitDecision.REPEAT
    assert gate.decide(0.9, attempt=0) is VisitDecision.ACCEPT
    assert gate.decide(1.0, attempt=0) is VisitDecision.REPEAT


def test_a_visit_is_repeated_twice_at_most() -> None:
    gate = SentinelGate(repeat_share=1.0)
    gate.decide(1.0, attempt=0)
    assert [gate.decide(1.15, attempt=attempt) for attempt in range(3)] == [
        VisitDecision.REPEAT,
        VisitDecision.REPEAT,
        VisitDecision.FLAG,
    ]


def test_a_repeat_in_a_fast_phase_is_accepted() -> None:
    gate = SentinelGate(repeat_share=1.0)
    gate.decide(1.0, attempt=0)
    assert gate.decide(1.15, attempt=0) is VisitDecision.REPEAT
    assert gate.decide(1.02, attempt=1) is VisitDecision.ACCEPT


def test_a_host_that_slows_down_for_good_costs_a_bounded_number_of_repeats() -> None:
    gate = SentinelGate(repeat_share=0.2)
    gate.decide(1.0, attempt=0)
    attempts = 0
    for _ in range(100):
        for attempt in range(3):
            attempts += 1
            if gate.decide(1.15, attempt=attempt) is VisitDecision.FLAG:
                break
    assert 100 + 15 <= attempts <= 100 + 24


def test_what_others_disturbed_is_repeated_however_fast_the_sentinel_was() -> None:
    gate = SentinelGate(repeat_share=1.0)
    assert gate.decide(1.0, attempt=0, disturbed=True) is VisitDecision.REPEAT
    assert gate.decide(1.0, attempt=1, disturbed=True) is VisitDecision.REPEAT
    assert gate.decide(1.0, attempt=2, disturbed=True) is VisitDecision.FLAG
    assert gate.decide(1.0, attempt=0) is VisitDecision.ACCEPT


def attempts_of(gate: SentinelGate, busy: list[bool]) -> list[VisitDecision]:
    """Visit after visit, each until it is not to be repeated, while the host is busy or not at each attempt."""
    told: list[VisitDecision] = []
    attempt = 0
    for disturbed in busy:
        told.append(gate.decide(1.0, attempt=attempt, disturbed=disturbed))
        attempt = attempt + 1 if told[-1] is VisitDecision.REPEAT else 0
    return told


def test_a_host_that_is_busy_for_good_is_waited_for_in_vain_only_for_a_while() -> None:
    told = attempts_of(SentinelGate(repeat_share=0.5), [True] * 200)
    assert 2 <= told.count(VisitDecision.REPEAT) <= BUSY_FOR_GOOD
    assert set(told[BUSY_FOR_GOOD:]) == {VisitDecision.FLAG}


def test_after_an_undisturbed_visit_repeats_are_worth_it_again() -> None:
    gate = SentinelGate(repeat_share=0.5)
    attempts_of(gate, [True] * 50)
    assert attempts_of(gate, [False, True, False]) == [VisitDecision.ACCEPT, VisitDecision.REPEAT, VisitDecision.ACCEPT]


def test_with_work_on_and_off_repeats_stay_within_their_share() -> None:
    busy = [number % 10 < 5 for number in range(500)]
    told = attempts_of(SentinelGate(repeat_share=0.2), busy)
    visits = len(told) - told.count(VisitDecision.REPEAT)
    assert 0.1 * visits < told.count(VisitDecision.REPEAT) <= 2 + 0.2 * visits
    assert told.count(VisitDecision.ACCEPT) == busy.count(False)
