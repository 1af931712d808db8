"""A few read whole tables at once, some wait, and the rest are told so."""

from __future__ import annotations

import threading

import pytest

from profiler_service.errors import BusyError
from profiler_service.storage.places import Places

PATIENCE_S = 20.0


def test_a_free_place_is_taken_at_once_and_given_back() -> None:
    places = Places("tables are being read", inside=1, waiting=0, wait_s=0.0)
    for _ in range(3):
        with places.one(), pytest.raises(BusyError, match="too many tables are being read at once"), places.one():
            pass


def test_a_place_is_given_back_after_an_error() -> None:
    places = Places("tables are being read", inside=1, waiting=0, wait_s=0.0)
    with pytest.raises(ValueError, match="inside"), places.one():
        raise ValueError("inside")
    with places.one():
        pass


def test_who_waits_gets_in_when_the_place_is_free() -> None:
    places = Places("tables are being read", inside=1, waiting=1, wait_s=PATIENCE_S)
    got_in = threading.Event()

    def wait() -> None:
        with places.one():
            got_in.set()

    waiter = threading.Thread(target=wait)
    with places.one():
        waiter.start()
        assert not got_in.wait(0.01)
    assert got_in.wait(PATIENCE_S)
    waiter.join()


def test_nobody_waits_for_ever() -> None:
    places = Places("tables are being read", inside=1, waiting=1, wait_s=0.01)
    with places.one(), pytest.raises(BusyError), places.one():
        pass
