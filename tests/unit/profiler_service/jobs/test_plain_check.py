"""What the wall clock says of a table, from visits that were made up."""

from __future__ import annotations

import pytest

from models.spec.measurements import Measurement
from models.spec.operators import OperatorSpec
from models.spec.scale import CheckOutcome, Scale, ScaleCheck
from models.spec.tables import Table
from models.spec.verdicts import TrustLevel, table_verdict
from profiler_service.jobs.plain_check import PlainVisits, compare
from profiler_service.measure.visits import graph_key
from profiler_service.worker.protocol import TimingResult
from tests.support import table_samples as samples

SCALE = Scale(reference_ms=0.3, stderr_ms=0.003, visits=9, quiet=9)
OPERATORS = [OperatorSpec(kind="conv3x3", in_channels=8, out_channels=n, height=8, width=8) for n in range(8, 13)]


def checked(ratios: list[float], sentinel_ms: float = 0.3) -> ScaleCheck:
    """Engines of one millisecond by the table, which take as many by the wall clock as those ratios say."""
    keys = [graph_key(operator, samples.info().protocol) for operator in OPERATORS[: len(ratios)]]
    visit = TimingResult(
        samples_ms=dict.fromkeys(keys, (1.0,)),
        build_s=0.0,
        warmup_s=0.0,
        sampling_s=0.0,
        peak_rss_bytes=0,
        started_at=samples.A_TIME,
        sentinel_ms=(sentinel_ms,),
        plain_ms={key: (ratio,) for key, ratio in zip(keys, ratios, strict=True)},
    )
    subjects = {key: (operator.key(), operator.label()) for key, operator in zip(keys, OPERATORS, strict=False)}
    entries = [Measurement(workload=operator, value_ms=1.0, stderr_ms=0.01) for operator in OPERATORS]
    return compare(PlainVisits(subjects, (visit,)), entries, SCALE, at=samples.A_TIME)


def level(check: ScaleCheck) -> TrustLevel:
    entries = tuple(Measurement(workload=operator, value_ms=1.0, stderr_ms=0.001) for operator in OPERATORS)
    return table_verdict(Table(info=samples.info(scale=SCALE, check=check), entries=entries)).level


@pytest.mark.parametrize(
    ("ratios", "outcome", "verdict"),
    [
        ([1.0] * 5, CheckOutcome.AGREES, TrustLevel.TRUSTWORTHY),
        ([1.025] * 5, CheckOutcome.AGREES, TrustLevel.TRUSTWORTHY),
        ([1.05] * 5, CheckOutcome.DISAGREES, TrustLevel.UNSETTLED),
        ([0.97, 1.0, 1.05, 1.08, 1.1], CheckOutcome.AGREES, TrustLevel.TRUSTWORTHY),
        ([1.3] * 5, CheckOutcome.DISAGREES, TrustLevel.UNUSABLE),
        ([1.0, 1.1, 1.3, 1.6, 1.9], CheckOutcome.DISAGREES, TrustLevel.UNSETTLED),
    ],
)
def test_engines_that_contradict_each_other_confirm_nothing_beyond_a_tenth(
    ratios: list[float], outcome: CheckOutcome, verdict: TrustLevel
) -> None:
    check = checked(ratios)
    assert (check.outcome, level(check)) == (outcome, verdict)


def test_a_visit_counts_only_where_the_sentinel_was_as_near_as_the_clocks_must_be() -> None:
    assert checked([1.0] * 5, sentinel_ms=0.308).outcome is CheckOutcome.AGREES
    assert checked([1.05] * 5, sentinel_ms=0.315).outcome is CheckOutcome.NOT_QUIET
