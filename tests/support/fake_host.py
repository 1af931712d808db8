"""Counters of a host that is as busy as a test wants, whatever this machine does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from profiler_service.jobs.host import HostReading


@dataclass
class FakeHost:
    """A second passes between two readings.

    Attributes:
        cores: that may be used; this process keeps one of them busy.
        others: cores that others keep busy before a reading, by its number: one before all visits, then two a visit.
    """

    cores: int = 4
    others: Callable[[int], float] = lambda reading: 0.0
    _readings: list[HostReading] = field(default_factory=list)

    def read(self) -> HostReading:
        number = len(self._readings)
        before = self._readings[-1] if self._readings else HostReading(0.0, self.cores, 0.0, 0.0, 0.0, 0.0, 0)
        reading = HostReading(
            at_s=number + 1.0,
            cores=self.cores,
            busy_s=(before.busy_s or 0.0) + 1.0 + self.others(number),
            stolen_s=0.0,
            total_s=(before.total_s or 0.0) + self.cores,
            own_s=(before.own_s or 0.0) + 1.0,
            throttled=0,
        )
        self._readings.append(reading)
        return reading
