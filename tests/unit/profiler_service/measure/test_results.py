"""The measurement that a table keeps."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from models.spec.measurements import Flag, Measurement, Status
from models.spec.operators import OperatorSpec
from profiler_service.measure.results import EngineRecord, failed, measured
from profiler_service.measure.stopping import BudgetSettings
from profiler_service.measure.values import VisitMedian, round_values
from profiler_service.measure.visits import Visit

OPERATOR = OperatorSpec(kind="conv3x3", in_channels=8, out_channels=8, height=16, width=16)
BUDGET = BudgetSettings(
    min_rounds=3,
    max_rounds=5,
    passes=3,
    network_passes=3,
    isolated_runs=9,
    warmup_passes=0,
    target_relative_stderr=0.05,
    floor_ms=0.0,
)
START = datetime(2030, 1, 1, tzinfo=UTC)


def visits(key: str, rounds: Sequence[Sequence[float]], *, sentinel_ms: float = 0.3, accepted: bool = True) -> list[Visit]:
    return [
        Visit(
            graph_key=key,
            round=number,
            visit=0,
            samples_ms=tuple(samples),
            sentinel_ms=sentinel_ms,
            passes=len(samples),
            accepted=accepted,
            started_at=START + timedelta(seconds=number),
        )
        for number, samples in enumerate(rounds)
    ]


def result(
    engine: list[Visit], base: list[Visit] | None, *, reference_ms: float | None = 0.3, known: EngineRecord | None = None
) -> Measurement:
    base_medians = None if base is None else [VisitMedian.of(visit) for visit in base]
    return measured(
        OPERATOR,
        engine,
        round_values([VisitMedian.of(visit) for visit in engine], base_medians, reference_ms),
        subtracted=base is not None,
        reference_ms=reference_ms,
        budget=BUDGET,
        engine=known or EngineRecord(),
    )


def test_the_base_is_subtracted_from_the_value_and_from_every_sample() -> None:
    engine = visits("engine", [(1.2, 1.25, 1.3), (1.2, 1.25, 1.3), (1.2, 1.25, 1.9)])
    base = visits("base", [(0.25, 0.25, 0.25)] * 3)
    entry = result(engine, base)
    assert entry.status is Status.OK
    assert (entry.value_ms, entry.base_ms) == (pytest.approx(1.0), pytest.approx(0.25))
    assert (entry.median_ms, entry.min_ms) == (pytest.approx(1.0), pytest.approx(0.95))
    assert entry.p99_ms is entry.p95_ms is None
    assert (entry.samples, entry.rounds) == (9, 3)
    assert entry.stderr_ms == pytest.approx(0.0, abs=1e-9)
    assert entry.measured_at == START
    assert entry.flags == ()


def test_both_the_plain_and_the_normalised_value_are_kept() -> None:
    engine = visits("engine", [(1.1,) * 3] * 3, sentinel_ms=0.33)
    entry = result(engine, None)
    assert entry.value_ms == pytest.approx(1.0)
    assert entry.plain_ms == pytest.approx(1.1)
    assert entry.sentinel_ratio == pytest.approx(1.1)
    assert entry.base_ms == 0.0


def test_a_protocol_without_sentinel_units_scales_nothing() -> None:
    entry = result(visits("engine", [(1.1,) * 3] * 3, sentinel_ms=0.33), None, reference_ms=None)
    assert entry.value_ms == entry.plain_ms == pytest.approx(1.1)
    assert entry.sentinel_ratio is None


def test_rounds_that_disagree_are_unconverged_and_spread() -> None:
    entry = result(visits("engine", [(1.0,) * 3, (1.2,) * 3, (1.4,) * 3]), None)
    assert Flag.UNCONVERGED in entry.flags
    assert entry.between_round_spread == pytest.approx(0.4 / 1.2)
    assert entry.stderr_ms is not None
    assert entry.stderr_ms > 0.05


def slow(taken: list[Visit], *rounds: int) -> list[Visit]:
    """Those rounds as the sentinel rejected them."""
    return [visit.model_copy(update={"accepted": visit.round not in rounds}) for visit in taken]


def test_slow_rounds_do_not_count_where_there_are_enough_others() -> None:
    engine = slow(visits("engine", [(1.0,) * 3, (1.5,) * 3, (1.0,) * 3, (1.0,) * 3]), 1)
    entry = result(engine, None)
    assert entry.flags == ()
    assert (entry.rounds, entry.samples) == (3, 9)
    assert entry.value_ms == entry.median_ms == pytest.approx(1.0)


def test_slow_rounds_that_must_be_kept_are_flagged() -> None:
    engine = slow(visits("engine", [(1.0,) * 3] * 3), 0, 1)
    entry = result(engine, None)
    assert entry.flags == (Flag.CONTAMINATED,)
    assert entry.rounds == 3


@pytest.mark.parametrize(("slow_rounds", "flags"), [((0, 1), (Flag.CONTAMINATED,)), ((3,), ())])
def test_a_base_kept_in_a_slow_phase_is_flagged_if_its_round_counts(
    slow_rounds: tuple[int, ...], flags: tuple[Flag, ...]
) -> None:
    base = slow(visits("base", [(0.25,) * 3] * 4), *slow_rounds)
    assert result(visits("engine", [(1.0,) * 3] * 3), base).flags == flags


@pytest.mark.parametrize("engine_ms", [0.249, 0.2505])
def test_a_difference_lost_in_noise_is_never_negative_and_flagged(engine_ms: float) -> None:
    engine = visits("engine", [(engine_ms,) * 3, (engine_ms + 0.001,) * 3, (engine_ms - 0.001,) * 3])
    entry = result(engine, visits("base", [(0.25,) * 3] * 3))
    assert entry.value_ms == pytest.approx(max(0.0, engine_ms - 0.25))
    assert Flag.BELOW_RESOLUTION in entry.flags
    assert entry.median_ms == pytest.approx(engine_ms - 0.25)


def test_what_is_known_of_the_engine_is_recorded() -> None:
    known = EngineRecord(build_s=0.01, engine_bytes=100, peak_memory_bytes=200, output_error=1e-6, host_load=0.5)
    entry = result(visits("engine", [(1.0,) * 3] * 3), None, known=known)
    recorded = (entry.build_s, entry.engine_bytes, entry.peak_memory_bytes, entry.output_error, entry.host_load)
    assert recorded == (0.01, 100, 200, 1e-6, 0.5)


def test_a_failure_has_a_status_a_message_and_no_numbers() -> None:
    entry = failed(OPERATOR, Status.BUILD_ERROR, "refused", at=START, engine=EngineRecord(host_load=0.5))
    assert (entry.status, entry.message, entry.measured_at) == (Status.BUILD_ERROR, "refused", START)
    assert entry.value_ms is None
