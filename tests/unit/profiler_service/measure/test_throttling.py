"""Which windows count, from streams of readings."""

from __future__ import annotations

from dataclasses import replace

import pytest

from profiler_service.measure.throttling import (
    ClockWatch,
    DeviceReading,
    Window,
    device_state,
    filter_windows,
    usual_clock_mhz,
    windows_between,
)

STEADY = DeviceReading(sm_clock_mhz=1980, memory_clock_mhz=3201, temperature_c=50, power_w=310.0)
HOT = replace(STEADY, sm_clock_mhz=1500, throttling=("thermal",))


def _window(before: DeviceReading, after: DeviceReading | None = None) -> Window:
    return Window(before, after or before)


def _at(clock_mhz: int) -> Window:
    return _window(replace(STEADY, sm_clock_mhz=clock_mhz))


def test_a_steady_clock_keeps_everything() -> None:
    filtered = filter_windows([_at(1980), _at(1965), _at(1950), _at(1980)])
    assert (filtered.counted, filtered.set_aside, filtered.throttled) == ((0, 1, 2, 3), {}, False)


def test_a_throttle_at_either_end_sets_a_window_aside_with_its_reason() -> None:
    filtered = filter_windows([_window(STEADY), _window(STEADY, HOT), _window(HOT), _window(HOT, STEADY), _window(STEADY)])
    assert filtered.counted == (0, 4)
    assert filtered.set_aside == {1: "thermal", 2: "thermal", 3: "thermal"}
    assert not filtered.throttled


def test_a_clock_far_below_the_usual_counts_without_a_reason_given() -> None:
    filtered = filter_windows([_at(1980), _at(1980), _at(1410), _at(1980)])
    assert filtered.counted == (0, 1, 3)
    assert filtered.set_aside == {2: "1410 MHz, less than 1841"}


def test_where_all_are_slow_all_are_kept_and_flagged() -> None:
    filtered = filter_windows([_window(HOT)] * 3)
    assert (filtered.counted, filtered.set_aside, filtered.throttled) == ((0, 1, 2), {}, True)


def test_a_usual_clock_known_from_before_shows_that_all_are_slow() -> None:
    assert not filter_windows([_at(1410)] * 3).throttled
    assert filter_windows([_at(1410)] * 3, usual_mhz=1980.0).throttled


def test_throttled_windows_say_nothing_about_the_usual_clock() -> None:
    assert usual_clock_mhz([_window(HOT)] * 5 + [_at(1980), _at(1970)]) == 1975
    assert usual_clock_mhz([_window(HOT)] * 5) == 1500


def test_nothing_measured_is_not_throttled() -> None:
    filtered = filter_windows([])
    assert (filtered.counted, filtered.throttled) == ((), False)


@pytest.mark.parametrize(("share", "kept"), [(0.5, (0, 1, 2, 3)), (0.9, (0, 1, 2))])
def test_the_share_is_a_choice(share: float, kept: tuple[int, ...]) -> None:
    assert filter_windows([_at(2000), _at(2000), _at(2000), _at(1500)], least_share=share).counted == kept


def test_windows_need_a_reading_each_time() -> None:
    assert windows_between([STEADY, HOT, STEADY]) == (Window(STEADY, HOT), Window(HOT, STEADY))
    assert windows_between([STEADY, None, STEADY]) == windows_between([None] * 3) == windows_between([STEADY]) == ()


class TestClockWatch:
    def test_knows_the_usual_clock_from_earlier_visits(self) -> None:
        watch = ClockWatch()
        assert not watch.filter([_at(1980)] * 12).throttled
        assert watch.filter([_at(1410)] * 12).throttled

    def test_learns_nothing_from_slow_windows(self) -> None:
        watch = ClockWatch()
        watch.filter([_at(1980)] * 5)
        for _ in range(20):
            assert watch.filter([_at(1410)] * 12).throttled

    def test_follows_a_device_that_warms_up(self) -> None:
        watch = ClockWatch(remembered=24)
        for clock_mhz in range(1980, 1600, -10):
            assert not watch.filter([_at(clock_mhz)] * 12).throttled, clock_mhz


def test_the_state_tells_ends_power_others_and_why() -> None:
    warm = replace(STEADY, temperature_c=61, power_w=330.0, other_processes=2)
    windows = [_window(STEADY), _window(STEADY, HOT), _window(HOT, warm), _window(warm)]
    state = device_state(windows, filter_windows(windows), samples_per_window=5)
    assert (state.clock_before_mhz, state.clock_after_mhz) == (1980, 1980)
    assert (state.temperature_before_c, state.temperature_after_c) == (50, 61)
    assert (state.power_w, state.other_processes) == (310.0, 2)
    assert (state.set_aside, state.throttled, state.reasons) == (10, False, ("thermal",))
