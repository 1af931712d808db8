"""Timing by the device's clock, against a device that may wake up too early."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from profiler_service.backends.blocking_kernel import (
    FIRST_BLOCKING_S,
    MOST_ATTEMPTS,
    RUNS_AT_ONCE,
    BlockingKernelTimer,
    TimingEvent,
)
from profiler_service.errors import RunError
from tests.support.fake_device import FakeDevice


class ShortQueue(FakeDevice):
    """A device whose driver makes the host wait for the first runs where more than so many are enqueued."""

    def __init__(self, runs: int) -> None:
        super().__init__()
        self.runs = runs

    def enqueued(self) -> int:
        """Runs since the last sleep."""
        newest = len(self.calls) - self.calls[::-1].index("sleep")
        return sum(call.startswith("run") for call in self.calls[newest:])

    def passed(self, event: TimingEvent) -> bool:
        return self.enqueued() > self.runs


def _run(device: FakeDevice, milliseconds: float) -> Callable[[], None]:
    def enqueue() -> None:
        device.calls.append(f"run {milliseconds}")
        device.clock_ms += milliseconds

    return enqueue


def test_each_run_has_its_own_events_behind_one_blocking_kernel() -> None:
    device = FakeDevice()
    times = BlockingKernelTimer(device).time([_run(device, 1.0), _run(device, 3.0), _run(device, 1.0)])
    assert times == [1.0, 3.0, 1.0]
    runs = [call for value in (1.0, 3.0, 1.0) for call in ("event", f"run {value}", "event")]
    assert device.calls == ["sleep", "event", *runs, "synchronize"]


def test_no_runs_take_no_time_and_touch_nothing() -> None:
    device = FakeDevice()
    assert BlockingKernelTimer(device).time([]) == []
    assert device.calls == []


def test_never_enqueues_more_than_the_driver_queues() -> None:
    device = FakeDevice()
    times = BlockingKernelTimer(device).time([_run(device, float(k)) for k in range(RUNS_AT_ONCE + 5)])
    assert times == [float(k) for k in range(RUNS_AT_ONCE + 5)]
    assert device.calls.count("sleep") == device.calls.count("synchronize") == 2


def test_repeats_a_pass_in_which_the_device_waited_for_the_host_and_remembers() -> None:
    device = FakeDevice(catches_up=2)
    timer = BlockingKernelTimer(device)
    assert timer.time([_run(device, 1.0)]) == [1.0]
    assert device.calls.count("run 1.0") == 3
    assert device.slept_s == sorted(device.slept_s)
    assert device.slept_s[-1] >= 4 * FIRST_BLOCKING_S
    timer.time([_run(device, 1.0)])
    assert device.slept_s[3] == device.slept_s[2]


def test_gives_up_on_a_host_that_is_always_slower() -> None:
    device = FakeDevice(catches_up=10**6)
    with pytest.raises(RunError, match="kept catching up with the host") as caught:
        BlockingKernelTimer(device).time([_run(device, 1.0)])
    assert "more launches than the driver queues" in caught.value.message
    assert caught.value.hint
    assert device.calls.count("sleep") == MOST_ATTEMPTS


def test_runs_that_the_driver_does_not_queue_at_once_are_halved_until_it_does_and_that_is_remembered() -> None:
    device = ShortQueue(40)
    timer = BlockingKernelTimer(device)
    runs = [_run(device, float(k)) for k in range(100)]
    assert timer.time(runs) == [float(k) for k in range(100)]
    assert timer.runs_at_once == 25
    device.calls.clear()
    assert timer.time(runs) == [float(k) for k in range(100)]
    assert device.calls.count("sleep") == 4


def test_a_run_that_no_halving_makes_queue_leaves_the_others_as_they_were() -> None:
    device = ShortQueue(0)
    timer = BlockingKernelTimer(device)
    with pytest.raises(RunError, match="kept catching up"):
        timer.time([_run(device, 1.0)] * 4)
    assert device.calls.count("sleep") == 3 * MOST_ATTEMPTS, "of four, two and one"
    assert timer.runs_at_once == RUNS_AT_ONCE


def test_a_run_that_always_waits_makes_the_next_ones_sleep_no_longer() -> None:
    device = FakeDevice(catches_up=MOST_ATTEMPTS)
    timer = BlockingKernelTimer(device)
    with pytest.raises(RunError) as caught:
        timer.time([_run(device, 1.0)])
    assert f"behind a blocking kernel of {device.slept_s[-1]:.3f} s at last" in caught.value.message
    assert device.slept_s[-1] > FIRST_BLOCKING_S
    assert timer.time([_run(device, 1.0)]) == [1.0]
    assert device.slept_s[-1] == FIRST_BLOCKING_S
