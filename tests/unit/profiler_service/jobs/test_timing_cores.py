"""Which cores the timing process keeps to."""

from __future__ import annotations

import pytest

from models.spec.errors import InvalidSpecError
from profiler_service.jobs import workers
from profiler_service.jobs.workers import timing_cores


@pytest.fixture(autouse=True)
def _four_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "usable_cores", lambda: (2, 3, 6, 7))


@pytest.mark.parametrize(
    ("first", "threads", "cores"),
    [(None, 1, (7,)), (None, 2, (6, 7)), (2, 1, (2,)), (3, 3, (3, 6, 7)), (None, 4, (2, 3, 6, 7))],
)
def test_takes_the_last_ones_or_those_from_the_chosen_one_on(first: int | None, threads: int, cores: tuple[int, ...]) -> None:
    assert timing_cores(first, threads) == cores


@pytest.mark.parametrize(("first", "threads"), [(None, 5), (0, 1), (5, 1), (7, 2)])
def test_refuses_cores_that_are_not_there(first: int | None, threads: int) -> None:
    with pytest.raises(InvalidSpecError, match="this process may use 2, 3, 6, 7"):
        timing_cores(first, threads)
