"""Which windows count, from streams of readings."""

from __future__ import annotations

from dataclasses import replace

import pytest

from profiler_service.backends.device.reading import DeviceReading
from profiler_service.measure.throttling import Window, sift, usual_clock_mhz

STEADY = DeviceReading(sm_clock_mhz=1980, memory_clock_mhz=3201, temperature_c=50, power_w=310.0)
HOT = replace(STEADY, sm_clock_mhz=1500, throttling=("thermal",))


def _window(before: DeviceReading, after: DeviceReading | None = None) -> Window:
    return Window(before, after or before)


def _at(clock_mhz: int) -> Window:
    return _window(replace(STEADY, sm_clock_mhz=clock_mhz))


def test_a_steady_clock_keeps_everything() -> None:
    sifted = sift([_at(1980), _at(1965), _at(1950), _at(1980)])
    assert (sifted.kept, sifted.set_aside, sifted.throttled) == ((0, 1, 2, 3), {}, False)


def test_a_throttle_at_either_end_sets_a_window_aside_with_its_reason() -> None:
    sifted = sift([_window(STEADY), _window(STEADY, HOT), _window(HOT), _window(HOT, STEADY), _window(STEADY)])
    assert sifted.kept == (0, 4)
    assert sifted.set_aside == {1: "thermal", 2: "thermal", 3: "thermal"}
    assert not sifted.throttled


def test_a_clock_far_below_the_usual_counts_without_a_reason_given() -> None:
    sifted = sift([_at(1980), _at(1980), _at(1410), _at(1980)])
    assert sifted.kept == (0, 1, 3)
    assert sifted.set_aside == {2: "1410 MHz, less than 1841"}


def test_where_all_are_slow_all_are_kept_and_flagged() -> None:
    sifted = sift([_window(HOT)] * 3)
    assert (sifted.kept, sifted.set_aside, sifted.throttled) == ((0, 1, 2), {}, True)


def test_a_usual_clock_known_from_before_shows_that_all_are_slow() -> None:
    assert not sift([_at(1410)] * 3).throttled
    assert sift([_at(1410)] * 3, usual_mhz=1980.0).throttled


def test_throttled_windows_say_nothing_about_the_usual_clock() -> None:
    assert usual_clock_mhz([_window(HOT)] * 5 + [_at(1980), _at(1970)]) == 1975
    assert usual_clock_mhz([_window(HOT)] * 5) == 1500


def test_nothing_measured_is_not_throttled() -> None:
    sifted = sift([])
    assert (sifted.kept, sifted.throttled) == ((), False)


@pytest.mark.parametrize(("share", "kept"), [(0.5, (0, 1, 2, 3)), (0.9, (0, 1, 2))])
def test_the_share_is_a_choice(share: float, kept: tuple[int, ...]) -> None:
    assert sift([_at(2000), _at(2000), _at(2000), _at(1500)], least_share=share).kept == kept
