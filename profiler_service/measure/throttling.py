"""Which samples were taken while a GPU was slower than usual. They are set aside and counted, never dropped silently."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from profiler_service.backends.device.reading import DeviceReading

LEAST_SHARE = 0.93
"""Of the usual clock. Boost clocks wander by some 3 % with temperature; a throttled one falls by 10 % and more."""


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


@dataclass(frozen=True)
class Sifted:
    """What became of some windows.

    Attributes:
        kept: indices of the windows whose samples count, ascending.
        set_aside: index to why, of the others.
        throttled: every window was slow: all are kept, and what is made of them carries the flag `throttled`.
    """

    kept: tuple[int, ...]
    set_aside: dict[int, str]
    throttled: bool


def usual_clock_mhz(windows: Sequence[Window]) -> float:
    """The median clock of the windows in which nothing held it down; of all of them where there is no such window."""
    free = [window.sm_clock_mhz for window in windows if not window.reasons]
    return median(free or [window.sm_clock_mhz for window in windows])


def sift(windows: Sequence[Window], *, usual_mhz: float | None = None, least_share: float = LEAST_SHARE) -> Sifted:
    """Set aside the windows under a throttle, or with a clock below that share of the usual one.

    Args:
        windows: in order of time.
        usual_mhz: the device's usual clock from earlier windows; by default that of these.
        least_share: of the usual clock, 0 to 1.
    """
    if not windows:
        return Sifted((), {}, throttled=False)
    usual = usual_clock_mhz(windows) if usual_mhz is None else usual_mhz
    slow = {index: why for index, window in enumerate(windows) if (why := _why_slow(window, least_share * usual))}
    if len(slow) == len(windows):
        return Sifted(tuple(range(len(windows))), {}, throttled=True)
    return Sifted(tuple(index for index in range(len(windows)) if index not in slow), slow, throttled=False)


def _why_slow(window: Window, least_mhz: float) -> str:
    if window.reasons:
        return ", ".join(window.reasons)
    return f"{window.sm_clock_mhz} MHz, less than {least_mhz:.0f}" if window.sm_clock_mhz < least_mhz else ""
