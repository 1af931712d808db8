"""The state of a GPU at one moment, whoever read it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DeviceReading:
    """Read between timed windows.

    Attributes:
        sm_clock_mhz, memory_clock_mhz: as they are. temperature_c: of the chip. power_w: drawn. None where not told.
        throttling: why the clock is held down, sorted; empty where it is not, or not told.
        other_processes: how many compute on the GPU besides this one, whoever owns them; None where not told.
    """

    sm_clock_mhz: int
    memory_clock_mhz: int | None = None
    temperature_c: int | None = None
    power_w: float | None = None
    throttling: tuple[str, ...] = ()
    other_processes: int | None = None
