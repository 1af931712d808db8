"""Two tables side by side."""

from __future__ import annotations

import pytest

from models.spec.architectures import SpaceSpec
from models.spec.measurements import Measurement, Status
from models.spec.operators import OperatorSpec
from models.spec.scale import Scale
from models.spec.tables import Table, TableInfo
from models.spec.targets import TargetSpec
from profiler_service.comparison import compare

INFO = TableInfo(target=TargetSpec(device="CPU", backend="b", threads=1), space=SpaceSpec(name="s", input_size=(64, 64)))


def operator(channels: int) -> OperatorSpec:
    return OperatorSpec(kind="conv3x3", in_channels=channels, out_channels=channels, height=8, width=8)


def table(values_ms: dict[int, float | None], info: TableInfo = INFO) -> Table:
    """Channels to milliseconds, None for a failed build."""
    entries = (
        Measurement(workload=operator(channels), value_ms=ms)
        if ms is not None
        else Measurement(workload=operator(channels), status=Status.BUILD_ERROR, message="refused")
        for channels, ms in values_ms.items()
    )
    return Table(info=info, entries=tuple(entries))


def test_differences_are_relative_to_the_first_table() -> None:
    found = compare(table({1: 1.0, 2: 2.0, 3: 4.0}), table({1: 1.1, 2: 1.0, 3: 4.0}))

    assert found.same_table
    assert found.common == 3
    assert [entry.label for entry in found.worst] == [operator(n).label() for n in (2, 1, 3)]
    assert [entry.relative for entry in found.worst] == pytest.approx([-0.5, 0.1, 0.0])
    assert found.median_relative == pytest.approx(0.0)
    assert found.median_absolute == pytest.approx(0.1)
    assert found.p95_absolute == pytest.approx(0.46)  # between ranks: 0.1 + 0.9 · (0.5 − 0.1)


def test_an_entry_that_failed_counts_as_absent() -> None:
    found = compare(table({1: 1.0, 2: None, 3: 1.0}), table({1: 1.0, 2: 1.0, 4: 1.0}))

    assert found.only_a == (operator(3).label(),)
    assert set(found.only_b) == {operator(2).label(), operator(4).label()}
    assert found.common == 1
    assert found.failed == ()


def test_an_operator_that_fails_now_is_named() -> None:
    found = compare(table({1: 1.0, 2: 1.0, 3: 1.0}), table({1: 1.0, 2: None}))
    assert (found.only_a, found.failed) == ((operator(2).label(), operator(3).label()), (operator(2).label(),))


def test_an_operator_that_costs_nothing_has_no_relative_difference() -> None:
    found = compare(table({1: 0.0, 2: 0.0}), table({1: 0.1, 2: 0.0}))
    assert (found.common, found.worst, found.median_relative) == (2, (), None)
    assert (found.tested, found.untested) == (0, 1)


def test_tables_of_other_targets_are_not_called_the_same() -> None:
    other = INFO.model_copy(update={"target": TargetSpec(device="CPU", backend="b", threads=4)})

    found = compare(table({1: 1.0}), table({1: 1.0}, other))

    assert not found.same_table
    assert "target threads: 1 here, 4 there" in found.mismatch


def test_only_the_worst_are_listed() -> None:
    found = compare(table(dict.fromkeys(range(1, 31), 1.0)), table({n: 1.0 + n / 100 for n in range(1, 31)}))
    assert [round(entry.relative, 2) for entry in found.worst] == [n / 100 for n in range(30, 20, -1)]


def known(values: dict[int, tuple[float, float, int]]) -> Table:
    """Channels to milliseconds, their standard error, and the rounds that it comes from."""
    entries = (
        Measurement(workload=operator(channels), value_ms=ms, stderr_ms=stderr_ms, rounds=rounds)
        for channels, (ms, stderr_ms, rounds) in values.items()
    )
    return Table(info=INFO, entries=tuple(entries))


def test_what_is_far_beyond_its_error_is_significant_with_an_interval() -> None:
    before = known({1: (1.0, 0.01, 6), 2: (1.0, 0.01, 6), 3: (1.0, 0.01, 6)})
    found = compare(before, known({1: (1.5, 0.01, 6), 2: (1.01, 0.01, 6), 3: (0.8, 0.01, 6)}))

    assert [entry.label for entry in found.significant] == [operator(n).label() for n in (1, 3)]
    assert (found.tested, found.untested, found.slower, found.faster) == (3, 0, 1, 1)
    # √(2 · 0.01² + (0.005 · 1)² + (0.005 · 1.5)²) = 0.01677, times Student t of 19.8 degrees of freedom, 2.087
    assert (found.significant[0].low, found.significant[0].high) == pytest.approx((0.4650, 0.5350), abs=1e-4)


def test_few_rounds_say_less() -> None:
    before, after = (1.0, 0.02), (1.12, 0.02)
    many = compare(known({1: (*before, 12)}), known({1: (*after, 12)}))
    few = compare(known({1: (*before, 3)}), known({1: (*after, 3)}))
    assert (len(many.significant), len(few.significant)) == (1, 1)
    assert many.significant[0].p is not None
    assert few.significant[0].p is not None
    assert many.significant[0].p < few.significant[0].p / 3


@pytest.mark.parametrize(("stderr_ms", "rounds"), [(0.01, 1), (0.01, 0), (0.0, 6)])
def test_significance_needs_an_error_that_comes_from_rounds(stderr_ms: float, rounds: int) -> None:
    found = compare(known({1: (1.0, stderr_ms, rounds)}), known({1: (2.0, stderr_ms, rounds)}))
    assert (found.tested, found.untested, found.significant) == (0, 1, ())
    assert found.worst[0].significant is None


def test_tables_on_one_scale_are_not_less_certain_for_it() -> None:
    one_scale = INFO.model_copy(update={"scale": Scale(reference_ms=0.3, stderr_ms=0.03)})
    entries = known({1: (1.0, 0.01, 6)}).entries
    assert compare(Table(info=one_scale, entries=entries), Table(info=one_scale, entries=entries)).scale_stderr == 0

    other = one_scale.model_copy(update={"scale": Scale(reference_ms=0.31, stderr_ms=0.0)})
    found = compare(Table(info=one_scale, entries=entries), Table(info=other, entries=entries))
    assert found.scale_stderr == pytest.approx(0.1)
