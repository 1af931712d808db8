"""Which samples were taken while a GPU was slower than usual. They are set aside and counted, never dropped silently."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from profiler_service.measure.visits import DeviceState

LEAST_SHARE = 0.93
"""Of the usual clock. Boost clocks wander by some 3 % with temperature; a throttled one falls by 10 % and more."""

LOW_CLOCK = "low_clock"
"""The reason of windows whose clock was far below the usual, where the device gives none."""


@dataclass(frozen=True)
class DeviceReading:
    """Read between timed windows.

    Attributes:
        sm_clock_mhz, memory_clock_mhz: as they are. temperature_c: of the chip. power_w: drawn. None where not reported.
        throttling: why the clock is held down, sorted; empty where it is not, or not reported.
        other_processes: how many compute on the GPU besides this one, whoever owns them; None where not reported.
    """

    sm_clock_mhz: int
    memory_clock_mhz: int | None = None
    temperature_c: int | None = None
    power_w: float | None = None
    throttling: tuple[str, ...] = ()
    other_processes: int | None = None


@dataclass(frozen=True)
class Window:
    """One timed window, between two readings."""

    before: DeviceReading
    after: DeviceReading

    @property
    def sm_clock_mhz(self) -> int:
        """The slower of its two clocks."""
        return min(self.before.sm_clock_mhz, self.after.sm_clock_mhz)

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why the clock was held down at one end or the other, sorted."""
        return tuple(sorted({*self.before.throttling, *self.after.throttling}))


def windows_between(readings: Sequence[DeviceReading | None]) -> tuple[Window, ...]:
    """The windows between successive readings; none where the device was not read each time."""
    known = [reading for reading in readings if reading is not None]
    return tuple(Window(*pair) for pair in pairwise(known)) if len(known) == len(readings) else ()


@dataclass(frozen=True)
class FilteredWindows:
    """What became of some windows.

    Attributes:
        counted: indices of the windows whose samples count, ascending.
        set_aside: index to why, of the others.
        throttled: every window was slow: all count, and what is made of them carries the flag `throttled`.
    """

    counted: tuple[int, ...]
    set_aside: dict[int, str]
    throttled: bool

    def samples(self, samples: Sequence[float]) -> tuple[float, ...]:
        """Those of the windows that count. Each window has as many, in the order of the windows."""
        each = len(samples) // (len(self.counted) + len(self.set_aside))
        return tuple(sample for index in self.counted for sample in samples[index * each : (index + 1) * each])


def usual_clock_mhz(windows: Sequence[Window]) -> float:
    """The median clock of the windows in which nothing held it down; of all of them where there is no such window."""
    free = [window.sm_clock_mhz for window in windows if not window.reasons]
    return median(free or [window.sm_clock_mhz for window in windows])


def filter_windows(
    windows: Sequence[Window], *, usual_mhz: float | None = None, least_share: float = LEAST_SHARE
) -> FilteredWindows:
    """Set aside the windows under a throttle, or with a clock below that share of the usual one.

    Args:
        windows: in order of time.
        usual_mhz: the device's usual clock from earlier windows; by default that of these.
        least_share: of the usual clock, 0 to 1.
    """
    if not windows:
        return FilteredWindows((), {}, throttled=False)
    usual = usual_clock_mhz(windows) if usual_mhz is None else usual_mhz
    slow = {index: why for index, window in enumerate(windows) if (why := _why_slow(window, least_share * usual))}
    if len(slow) == len(windows):
        return FilteredWindows(tuple(range(len(windows))), {}, throttled=True)
    return FilteredWindows(tuple(index for index in range(len(windows)) if index not in slow), slow, throttled=False)


def _why_slow(window: Window, least_mhz: float) -> str:
    if window.reasons:
        return ", ".join(window.reasons)
    return f"{window.sm_clock_mhz} MHz, less than {least_mhz:.0f}" if window.sm_clock_mhz < least_mhz else ""


def device_state(windows: Sequence[Window], filtered: FilteredWindows, *, samples_per_window: int) -> DeviceState:
    """What a visit says of its device. At least one window.

    Args:
        windows: in order of time.
        filtered: what became of them.
        samples_per_window: of one graph.
    """
    first, last = windows[0].before, windows[-1].after
    readings = [first, *(window.after for window in windows)]
    slow = windows if filtered.throttled else [windows[index] for index in filtered.set_aside]
    reasons = {reason for window in slow for reason in (window.reasons or (LOW_CLOCK,))}
    power_w = [reading.power_w for reading in readings if reading.power_w is not None]
    others = [reading.other_processes for reading in readings if reading.other_processes is not None]
    return DeviceState(
        clock_before_mhz=first.sm_clock_mhz,
        clock_after_mhz=last.sm_clock_mhz,
        temperature_before_c=first.temperature_c,
        temperature_after_c=last.temperature_c,
        power_w=median(power_w) if power_w else None,
        other_processes=max(others, default=None),
        set_aside=len(filtered.set_aside) * samples_per_window,
        throttled=filtered.throttled,
        reasons=tuple(sorted(reasons)),
    )


class ClockWatch:
    """The throttle filter of a job: takes one visit after another, and learns the device's usual clock from them.

    The first visits are compared with themselves alone: for a device that is slow from the start, and does not report why, slow
    is usual.

    Args:
        remembered: windows that the usual clock is taken from: those of the last minutes, since a device that warms up slows a
            little.
    """

    def __init__(self, remembered: int = 2_000) -> None:
        self._free: deque[int] = deque(maxlen=remembered)

    def filter(self, windows: Sequence[Window]) -> FilteredWindows:
        """What becomes of a visit's windows."""
        usual = median(self._free) if self._free else None
        filtered = filter_windows(windows, usual_mhz=usual)
        if not filtered.throttled:
            self._free.extend(windows[index].sm_clock_mhz for index in filtered.counted)
        return filtered
