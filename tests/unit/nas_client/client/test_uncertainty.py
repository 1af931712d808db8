"""How certain sums are: by simulation, entries whose true values are known and whose errors are correlated as in a table."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest

from models.spaces.registry import create_space
from models.spec.graphs import ContextBase
from models.spec.measurements import ProtocolName
from models.spec.rebuilds import RebuildSpread, RebuiltEntry
from models.spec.scale import Scale
from models.spec.tables import Table
from nas_client.errors import CalibrationError
from nas_client.estimates import estimate
from nas_client.table import LookupTable
from nas_client.uncertainty import (
    BASE_SHARE,
    NORMAL_95,
    VISITS_SHARE,
    Addend,
    SumBias,
    sum_stderr_ms,
    sum_uncertainty,
    validated_interval_ms,
)
from tests.support.fake_service import SPACE, make_table

DRAWS = 6000
TOY = create_space(SPACE)
COUNTS = np.asarray([1, 1, 2, 5, 1, 3, 1, 8])
MS = np.asarray([0.4, 1.2, 0.3, 0.15, 2.0, 0.6, 0.9, 0.1])
STDERR = np.asarray([0.02, 0.01, 0.03, 0.02, 0.01, 0.015, 0.03, 0.05]) * MS
BASES = np.asarray([0, 0, 0, 1, 1, 2, 2, 2])
SCALE, BUILDS = 0.01, 0.02


def addends(ms: np.ndarray = MS, stderr_ms: np.ndarray = STDERR) -> list[Addend]:
    columns = zip(COUNTS.tolist(), ms.tolist(), stderr_ms.tolist(), BASES.tolist(), strict=True)
    return [Addend(count, value, stderr, f"base {base}") for count, value, stderr, base in columns]


def coverage(sums: np.ndarray, stderr: np.ndarray | float, truth: float) -> float:
    return float(np.mean(np.abs(sums - truth) <= NORMAL_95 * stderr))


def drawn_errors(rng: np.random.Generator) -> np.ndarray:
    """Of entries, by the model. Shape: (draws, entries)."""
    own = np.sqrt(1 - BASE_SHARE - VISITS_SHARE) * rng.standard_normal((DRAWS, MS.size))
    base = np.sqrt(BASE_SHARE) * rng.standard_normal((DRAWS, 3))[:, BASES]
    visits = np.sqrt(VISITS_SHARE) * rng.standard_normal((DRAWS, 1))
    return STDERR * (own + base + visits)


def test_intervals_of_tables_with_known_truth_cover_as_often_as_they_say() -> None:
    """Errors of entries, of shared bases and visits, of builds, and of the one scale; repeats count once per occurrence."""
    rng = np.random.default_rng(0)
    values = MS * (1 + BUILDS * rng.standard_normal((DRAWS, MS.size))) + drawn_errors(rng)
    sums = (values @ COUNTS) * (1 + SCALE * rng.standard_normal(DRAWS))
    stderr = np.asarray([sum_stderr_ms(addends(ms=row), scale=SCALE, builds=BUILDS) for row in values])
    assert 0.93 < coverage(sums, stderr, float(MS @ COUNTS)) < 0.97


def test_a_table_measured_graph_by_graph_in_few_rounds_is_covered_too() -> None:
    """No shares are assumed here: rounds of graphs and of the bases that they share, standard errors from eight rounds."""
    rng, rounds = np.random.default_rng(1), 8
    base_ms, noise = np.asarray([0.3, 0.5, 0.2]), 0.02
    graphs = (MS + base_ms[BASES])[:, None] * (1 + noise * rng.standard_normal((DRAWS, MS.size, rounds)))
    bases = base_ms[:, None] * (1 + noise * rng.standard_normal((DRAWS, 3, rounds)))
    values = graphs - bases[:, BASES]
    stderr = values.std(axis=2, ddof=1) / np.sqrt(rounds)
    means = values.mean(axis=2)
    found = np.asarray([sum_stderr_ms(addends(ms, error)) for ms, error in zip(means, stderr, strict=True)])
    assert coverage(means @ COUNTS, found, float(MS @ COUNTS)) > 0.93


@pytest.mark.parametrize("left_out", ["scale", "base_share"])
def test_what_is_common_must_not_be_left_out(left_out: str) -> None:
    """The simulation tells the formula from one that takes entries for independent, or the scale for known."""
    rng = np.random.default_rng(2)
    sums = ((MS + drawn_errors(rng)) @ COUNTS) * (1 + SCALE * rng.standard_normal(DRAWS))
    stderr = sum_stderr_ms(addends(), **{"scale": SCALE, left_out: 0.0})
    assert coverage(sums, stderr, float(MS @ COUNTS)) < 0.93


def test_an_operator_that_occurs_four_times_is_wrong_four_times_over() -> None:
    assert sum_stderr_ms([Addend(4, 1.0, 0.01)]) == pytest.approx(0.04)
    assert sum_stderr_ms([Addend(4, 1.0, 0.0)], builds=0.01) == pytest.approx(0.04)


def test_different_operators_add_between_the_independent_and_the_linear_way() -> None:
    apart = [Addend(1, 1.0, 0.01) for _ in range(100)]
    together = [Addend(1, 1.0, 0.01, "one base") for _ in range(100)]
    assert sum_stderr_ms(apart, visits_share=0) == pytest.approx(0.1)
    assert 0.1 < sum_stderr_ms(apart) < sum_stderr_ms(together) < 1.0
    assert sum_stderr_ms(together, base_share=1, visits_share=0) == pytest.approx(1.0)
    assert sum_stderr_ms(apart, visits_share=1) == pytest.approx(1.0)


def test_the_scale_is_the_same_for_all() -> None:
    assert sum_stderr_ms([Addend(1, 1.0, 0.0) for _ in range(100)], scale=0.01) == pytest.approx(1.0)


def test_the_next_network_is_covered_by_what_the_validated_ones_told() -> None:
    """Sums 4 % too low, networks scattering by 2 %, twelve of them measured: the interval for one more."""
    rng = np.random.default_rng(3)
    inside = 0
    for _ in range(DRAWS):
        sums = rng.uniform(3, 9, 13)
        measured = sums * (1.04 + 0.02 * rng.standard_normal(13))
        low, high = validated_interval_ms(sums[-1], SumBias.of(sums[:-1], measured[:-1]))
        inside += low <= measured[-1] <= high
    assert 0.93 < inside / DRAWS < 0.97


def test_the_scale_widens_what_a_validation_says() -> None:
    bias = SumBias(networks=40, bias=0.1, residual_sd=0.0)
    assert validated_interval_ms(10.0, bias) == pytest.approx((11.0, 11.0))
    assert validated_interval_ms(10.0, bias, scale=0.01) == pytest.approx((11 * (1 - 0.0196), 11 * (1 + 0.0196)), rel=1e-4)


def test_three_networks_tell_no_bias() -> None:
    with pytest.raises(CalibrationError, match="3 networks are too few"):
        SumBias.of([1, 2, 3], [1, 2, 3])


NETWORK = TOY.sample(np.random.default_rng(1))
OPERATORS = TOY.architecture_operators(NETWORK)
TABLE = make_table()


def with_info(**changes: object) -> LookupTable:
    return LookupTable(Table(info=TABLE.info.model_copy(update=changes), entries=TABLE.entries))


def stderr_of(table: LookupTable) -> float:
    found = sum_uncertainty(OPERATORS, table)
    assert found is not None
    return found.stderr_ms


def test_a_tables_scale_builds_and_bases_count() -> None:
    exact = with_info(scale=Scale(reference_ms=0.25, visits=1))
    operator = OPERATORS[0]
    one = RebuiltEntry(key=operator.key(), label=operator.label(), value_ms=1.0, between_ms=0.1, within_ms=0.0)
    builds = RebuildSpread(builds=3, rounds=4, entries=(one,), measured_at=datetime(2025, 1, 1, tzinfo=UTC))
    alone = with_info(scale=None, protocol=ProtocolName.ISOLATED)
    assert stderr_of(exact) < stderr_of(with_info(scale=Scale(reference_ms=0.25, stderr_ms=0.01, visits=1)))
    assert stderr_of(exact) < stderr_of(with_info(scale=exact.info.scale, rebuild_spread=builds))
    assert stderr_of(alone) <= stderr_of(exact)
    assert len({ContextBase.of(operator).key() for operator in OPERATORS}) < len({o.key() for o in OPERATORS})


def test_nothing_is_said_where_an_entry_does_not_say() -> None:
    key = OPERATORS[0].key()
    silent = tuple(e.model_copy(update={"stderr_ms": None}) if e.key() == key else e for e in TABLE.entries)
    missing = tuple(e for e in TABLE.entries if e.key() != key)
    for entries in (silent, missing):
        found = estimate(NETWORK, LookupTable(Table(info=TABLE.info, entries=entries)))
        assert found.uncertainty is None


def test_an_estimate_says_what_its_interval_is_of() -> None:
    raw = estimate(NETWORK, LookupTable(TABLE)).uncertainty
    known = estimate(NETWORK, LookupTable(TABLE), bias=SumBias(networks=40, bias=0.07, residual_sd=0.01)).uncertainty
    assert raw is not None
    assert known is not None
    assert (raw.kind, known.kind) == ("statistical", "validated")
    assert raw.stderr_ms == known.stderr_ms
    assert sum(known.interval_ms) == pytest.approx(1.07 * sum(raw.interval_ms))
