"""What several jobs told of how builds differ, as one: whoever told it, in whatever order it arrives."""

from __future__ import annotations

from datetime import timedelta
from functools import reduce
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.spec.errors import InvalidSpecError
from models.spec.rebuilds import FailedRebuild, RebuildSpread, RebuiltEntry, merged
from models.spec.table_files import TableFormat, from_bytes, to_bytes
from models.spec.tables import Table
from tests.support import table_samples as samples

KEYS = ("aa", "bb", "cc", "dd")


def entry(key: str, **changes: Any) -> RebuiltEntry:
    return RebuiltEntry(
        **({"key": key, "label": f"label {key}", "value_ms": 1.0, "between_ms": 0.1, "within_ms": 0.2} | changes)
    )


def failure(key: str, **changes: Any) -> FailedRebuild:
    return FailedRebuild(**({"key": key, "label": f"label {key}", "message": "no"} | changes))


def spread(*outcomes: RebuiltEntry | FailedRebuild, at: int = 0, **changes: Any) -> RebuildSpread:
    """What a group told, so many minutes after the first."""
    failures = tuple(outcome for outcome in outcomes if isinstance(outcome, FailedRebuild))
    fields: dict[str, Any] = {
        "builds": 3,
        "rounds": 6,
        "entries": tuple(outcome for outcome in outcomes if isinstance(outcome, RebuiltEntry)),
        "failures": failures,
        "failed": len(failures),
        "measured_at": samples.A_TIME + timedelta(minutes=at),
    }
    return RebuildSpread(**(fields | changes))


@st.composite
def told(draw: st.DrawFn, at: int) -> RebuildSpread:
    """Any group's: some keys fail, the others have any numbers."""
    keys = draw(st.lists(st.sampled_from(KEYS), unique=True, min_size=1))
    outcomes: list[RebuiltEntry | FailedRebuild] = []
    for key in keys:
        good = draw(st.booleans())
        outcomes.append(entry(key, between_ms=draw(st.floats(0, 1))) if good else failure(key))
    return spread(*outcomes, at=at, rounds=draw(st.integers(2, 9)), throttled=draw(st.booleans()))


@st.composite
def histories(draw: st.DrawFn) -> list[RebuildSpread]:
    """What groups told one after another."""
    return [draw(told(at)) for at in range(draw(st.integers(2, 5)))]


def outcomes_of(whole: RebuildSpread) -> list[RebuiltEntry | FailedRebuild]:
    return [*whole.entries, *(whole.failures or ())]


@given(history=histories())
def test_every_operator_has_its_latest_outcome_once(history: list[RebuildSpread]) -> None:
    latest = {outcome.key: (outcome, told) for told in history for outcome in outcomes_of(told)}
    whole = reduce(merged, history)
    assert sorted(outcome.key for outcome in outcomes_of(whole)) == sorted(latest) == sorted(whole.known_keys())
    for outcome in outcomes_of(whole):
        expected, told = latest[outcome.key]
        assert type(outcome) is type(expected)
        assert outcome.measured_at == told.measured_at
        if isinstance(outcome, RebuiltEntry) and isinstance(expected, RebuiltEntry):
            assert (outcome.between_ms, outcome.rounds, outcome.throttled) == (expected.between_ms, told.rounds, told.throttled)
    assert whole.failed == len(whole.failures or ())
    assert whole.measured_at == history[-1].measured_at


@given(data=st.data(), history=histories())
def test_the_order_of_arrival_does_not_matter(data: st.DataObject, history: list[RebuildSpread]) -> None:
    arriving = data.draw(st.permutations(history))
    one, other = reduce(merged, history), reduce(merged, arriving)
    assert (one.entries, one.failures, one.throttled) == (other.entries, other.failures, other.throttled)
    assert not one.entries or (one.builds, one.rounds) == (other.builds, other.rounds)


@given(history=histories())
def test_what_is_told_twice_changes_nothing(history: list[RebuildSpread]) -> None:
    once = reduce(merged, [*history, history[-1]])
    assert merged(once, history[-1]) == merged(once, once) == once


@given(one=told(0), two=told(1), three=told(2))
def test_it_does_not_matter_what_is_put_together_first(one: RebuildSpread, two: RebuildSpread, three: RebuildSpread) -> None:
    left, right = merged(merged(one, two), three), merged(one, merged(two, three))
    assert outcomes_of(left) == outcomes_of(right)


def test_the_whole_says_what_its_entries_say() -> None:
    first = spread(entry("aa"), entry("bb"), rounds=4, throttled=True)
    second = spread(entry("cc"), rounds=10, at=1)
    both = merged(first, second)
    assert (both.rounds, both.throttled, both.measured_at) == (4, True, second.measured_at)
    again = merged(both, spread(entry("aa"), entry("bb"), rounds=6, at=2))
    assert (again.rounds, again.throttled) == (6, False), "nothing is left of what was slow and short"
    assert [told.measured_at for told in again.entries] == [again.measured_at, again.measured_at, second.measured_at]


def test_a_failure_is_one_until_a_build_succeeds_and_the_other_way_round() -> None:
    failed = merged(spread(failure("aa"), entry("bb")), spread(failure("aa"), at=1))
    assert (failed.failed, len(failed.entries)) == (1, 1)
    mended = merged(failed, spread(entry("aa"), at=2))
    assert (mended.failed, mended.failures, len(mended.entries)) == (0, (), 2)
    broken = merged(mended, spread(failure("bb"), at=3))
    assert (broken.failed, [told.key for told in broken.entries]) == (1, ["aa"])
    assert "1 entries built 3 times" in broken.sentence()


def test_where_nothing_could_be_built_the_latest_attempt_speaks() -> None:
    none = merged(spread(failure("aa"), rounds=4), spread(failure("bb"), rounds=10, at=1))
    assert (none.rounds, none.failed, none.throttled) == (10, 2, False)
    assert none.sentence() == "none of 2 entries could be built 3 times"


def test_what_an_earlier_release_wrote_is_dated_by_its_whole_and_its_nameless_failures_go() -> None:
    old = spread(entry("aa"), entry("bb"), failures=None, failed=2, rounds=4)
    assert old.known_keys(old.measured_at) == {"aa", "bb"}
    assert old.known_keys(old.measured_at + timedelta(seconds=1)) == frozenset()
    both = merged(old, spread(entry("bb"), at=1))
    assert (both.failed, both.failures) == (0, ())
    assert [(told.key, told.rounds, told.measured_at) for told in both.entries] == [
        ("aa", 4, old.measured_at),
        ("bb", 6, both.measured_at),
    ]


def test_keys_since() -> None:
    both = merged(spread(entry("aa")), spread(failure("bb"), at=1))
    assert both.known_keys() == {"aa", "bb"}
    assert both.known_keys(both.measured_at) == {"bb"}


def test_failures_are_counted_right() -> None:
    with pytest.raises(InvalidSpecError, match="2 failed, but 1 are named"):
        RebuildSpread.parse(spread(failure("aa")).model_dump() | {"failed": 2})


@pytest.mark.parametrize("file_format", list(TableFormat))
def test_table_files_keep_all_of_it(file_format: TableFormat) -> None:
    whole = merged(spread(entry("aa"), throttled=True), spread(entry("bb"), failure("cc"), at=1))
    table = Table(info=samples.info(rebuild_spread=whole), entries=(samples.measurement(),))
    assert from_bytes(to_bytes(table, file_format)) == table
