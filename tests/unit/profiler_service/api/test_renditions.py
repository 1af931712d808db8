"""A table is turned into bytes once for all who ask for the same."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from profiler_service.api.content import Snapshot
from profiler_service.api.renditions import Renditions
from profiler_service.errors import BusyError, TableNotFoundError

PATIENCE_S = 20.0
ARROW, CSV = ("table", "arrow"), ("table", "csv")


class Maker:
    """Makes renditions, once the test lets it."""

    def __init__(self, body: bytes = b"body", version: str = "1") -> None:
        self.snapshot = Snapshot(version, body)
        self.made = 0
        self.begun, self.go = threading.Event(), threading.Event()
        self.go.set()

    def __call__(self) -> Snapshot:
        self.made += 1
        self.begun.set()
        assert self.go.wait(PATIENCE_S)
        return self.snapshot


def test_a_version_is_made_once_and_the_next_one_anew() -> None:
    renditions, first, second = Renditions(), Maker(), Maker(b"other", "2")
    for _ in range(3):
        assert renditions.get(ARROW, "1", first).body == b"body"
        assert renditions.get(CSV, "1", first).body == b"body"
    assert first.made == 2
    assert renditions.get(ARROW, "2", second).body == b"other"
    assert renditions.get(ARROW, "2", second).body == b"other"
    assert second.made == 1


def test_who_comes_meanwhile_waits_for_the_same() -> None:
    renditions, maker = Renditions(), Maker()
    maker.go.clear()
    with ThreadPoolExecutor(8) as threads:
        answers = [threads.submit(renditions.get, ARROW, "1", maker) for _ in range(8)]
        assert maker.begun.wait(PATIENCE_S)
        maker.go.set()
        assert {answer.result(PATIENCE_S).body for answer in answers} == {b"body"}
    assert maker.made == 1


def test_only_so_many_may_wait() -> None:
    renditions, maker = Renditions(waiting=0), Maker()
    maker.go.clear()
    with ThreadPoolExecutor(1) as threads:
        answer = threads.submit(renditions.get, ARROW, "1", maker)
        assert maker.begun.wait(PATIENCE_S)
        with pytest.raises(BusyError, match="too many requests wait"):
            renditions.get(ARROW, "1", maker)
        maker.go.set()
        assert answer.result(PATIENCE_S).body == b"body"


def test_an_error_is_told_and_not_kept() -> None:
    renditions = Renditions()

    def fail() -> Snapshot:
        raise TableNotFoundError("no table")

    with pytest.raises(TableNotFoundError):
        renditions.get(ARROW, "1", fail)
    assert renditions.get(ARROW, "1", Maker()).body == b"body"


def test_no_more_is_kept_than_may_be() -> None:
    renditions = Renditions(limit_bytes=10)
    small, large = Maker(b"x" * 6), Maker(b"x" * 11)
    for key in (ARROW, CSV, ARROW):
        renditions.get(key, "1", small)
    assert small.made == 3
    for _ in range(2):
        renditions.get(CSV, "1", large)
    assert large.made == 2
    renditions.get(ARROW, "1", small)
    assert small.made == 3
