"""What looks wrong in a table by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from models.spec.measurements import Flag, Measurement, Status
from models.spec.operators import OperatorSpec
from models.spec.scale import Scale
from models.spec.tables import Table
from profiler_service.linting import LintReport, RoundsOf, lint, neighbours
from profiler_service.measure.values import RoundValue
from tests.support import table_samples as samples


def operator(**changes: object) -> OperatorSpec:
    fields: dict[str, object] = {"kind": "conv3x3", "in_channels": 8, "out_channels": 8, "height": 16, "width": 32}
    return OperatorSpec.model_validate(fields | changes)


def entry(value_ms: float, *, stderr_ms: float = 0.001, rounds: int = 8, **changes: object) -> Measurement:
    return Measurement(workload=operator(**changes), value_ms=value_ms, stderr_ms=stderr_ms, rounds=rounds)


def table(*entries: Measurement, **info: object) -> Table:
    settled = {"scale": Scale(reference_ms=0.3, stderr_ms=0.001, visits=100, quiet=90)}
    return Table(info=samples.info(**(settled | info)), entries=entries)


def names(report: LintReport) -> list[str]:
    return [finding.name for finding in report.findings]


def rounds(values: Mapping[int, Sequence[float]]) -> RoundsOf:
    """Rounds of operators by their output channels."""

    def rounds_of(operators: Sequence[OperatorSpec]) -> Mapping[str, Sequence[RoundValue]]:
        return {
            operator.key(): [RoundValue(number, ms, ms, 0.0, 0.3) for number, ms in enumerate(values[operator.out_channels])]
            for operator in operators
        }

    return rounds_of


def test_a_table_in_order_has_nothing_to_tell() -> None:
    report = lint(table(entry(0.5), entry(0.9, out_channels=16), entry(1.7, out_channels=32)))
    assert (report.pairs, report.tested, report.inversions, report.findings) == (2, 2, (), ())


@pytest.mark.parametrize(
    ("larger", "grows"),
    [
        ({"out_channels": 16}, "out_channels"),
        ({"in_channels": 16}, "in_channels"),
        ({"height": 32, "width": 64}, "resolution"),
        ({"height": 16, "width": 64}, "resolution"),
    ],
)
def test_a_value_that_falls_where_one_size_grows(larger: dict[str, object], grows: str) -> None:
    (found,) = lint(table(entry(0.5), entry(0.4, **larger))).inversions
    assert (found.grows, found.smaller, found.larger) == (grows, operator().label(), operator(**larger).label())
    assert found.relative == pytest.approx(-0.2)
    assert found.repeats is None, "without rounds nobody can tell"


@pytest.mark.parametrize(
    "other",
    [
        {"out_channels": 16, "in_channels": 16},
        {"out_channels": 16, "stride": 2},
        {"out_channels": 16, "dtype": "float16"},
        {"out_channels": 16, "batch": 2},
        {"out_channels": 16, "kind": "conv3x3_x2"},
        {"height": 32, "width": 24},
    ],
)
def test_operators_that_differ_in_more_are_not_compared(other: dict[str, object]) -> None:
    assert list(neighbours((entry(0.5), entry(0.4, **other)))) == []


def test_channels_of_a_kind_that_keeps_them_grow_together() -> None:
    small = entry(0.5, kind="feature_fusion")
    large = entry(0.4, kind="feature_fusion", in_channels=16, out_channels=16)
    (found,) = lint(table(small, large)).inversions
    assert found.grows == "channels"


def test_an_operator_that_does_nothing_is_no_neighbour() -> None:
    """A skip without change costs nothing; one that widens is a convolution."""
    convolution, identity = entry(0.5, kind="skip", out_channels=16), entry(0.01, kind="skip", in_channels=16, out_channels=16)
    assert list(neighbours((convolution, identity))) == []


def test_a_fall_within_the_noise_is_none() -> None:
    assert lint(table(entry(0.5, stderr_ms=0.02), entry(0.48, stderr_ms=0.02, out_channels=16))).inversions == ()


def test_a_fall_that_rounds_do_not_show_is_left_out() -> None:
    found = table(entry(0.5), entry(0.4, out_channels=16))
    shown = lint(found, rounds({8: [0.5, 0.5, 0.5, 0.5], 16: [0.4, 0.4, 0.4, 0.6]}))
    assert (shown.inversions[0].rounds, shown.inversions[0].rounds_falling, shown.inversions[0].repeats) == (4, 3, True)

    hidden = lint(found, rounds({8: [0.5, 0.5, 0.5, 0.5], 16: [0.4, 0.4, 0.6, 0.6]}))
    assert (hidden.inversions, hidden.not_repeated) == ((), 1)


def test_rounds_of_one_alone_do_not_tell_whether_a_fall_repeats() -> None:
    report = lint(table(entry(0.5), entry(0.4, out_channels=16)), rounds({8: [0.5] * 4, 16: []}))
    assert report.inversions[0].repeats is None


def test_noise_alone_seldom_makes_inversions() -> None:
    """Equal operators in 60 tables: at the rate of 5 % no more than 9 of them have an inversion (0.1 % by chance)."""
    rng = np.random.default_rng(3)
    found = 0
    for _ in range(60):
        values = 1 + 0.01 * rng.standard_normal(20)
        entries = (entry(float(ms), stderr_ms=0.01, rounds=16, out_channels=8 + i) for i, ms in enumerate(values))
        found += bool(lint(table(*entries)).inversions)
    assert found <= 9


def test_flags_failures_and_plain_values_are_told_with_their_entries() -> None:
    flagged = entry(0.5).model_copy(update={"flags": (Flag.UNCONVERGED, Flag.BELOW_RESOLUTION), "plain_ms": 0.7})
    failed = Measurement(workload=operator(out_channels=24), status=Status.CRASHED, message="signal 11")
    report = lint(table(flagged, entry(0.9, out_channels=16), failed))
    assert names(report) == ["failed", "unconverged", "below_resolution", "plain"]
    assert [finding.entries[0].label for finding in report.findings] == [
        operator(out_channels=24).label(),
        *[operator().label()] * 3,
    ]
    assert "plain" not in names(lint(table(flagged), plain_apart=0.5))


def test_a_scale_that_is_not_established_is_told() -> None:
    unsettled = Scale(reference_ms=0.3, unsettled="only 3 visits were quiet")
    (finding,) = lint(table(entry(0.5), scale=unsettled)).findings
    assert (finding.name, "only 3 visits were quiet" in finding.text) == ("scale", True)


@pytest.mark.parametrize(("values", "name"), [((0.0, 0.0), "zero"), ((0.5, 0.5), "constant")])
def test_tables_of_one_number_are_told(values: tuple[float, float], name: str) -> None:
    report = lint(table(entry(values[0]), entry(values[1], out_channels=16)))
    assert names(report) == [name]


def test_an_empty_table_is_told() -> None:
    assert names(lint(table())) == ["empty"]
