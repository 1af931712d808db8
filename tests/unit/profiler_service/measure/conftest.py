"""A host that exists only as random numbers, with everything that makes real ones hard to measure on."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import pytest

from profiler_service.measure.visits import Visit

Slowdown = Callable[[float], float]
Run = Callable[[random.Random], float]


def quiet(_now_s: float) -> float:
    """A host that is always equally fast."""
    return 1.0


def slow_phases(now_s: float) -> float:
    """10 to 16 % slower for 20 s of every 50 s, as seen on shared virtual machines."""
    phase, within = divmod(now_s, 50.0)
    return (1.10, 1.13, 1.16)[int(phase) % 3] if within < 20.0 else 1.0


def drift(now_s: float) -> float:
    """10 % slower every minute."""
    return 1.0 + 0.1 * now_s / 60.0


def noisy(rng: random.Random) -> float:
    """1.5 % of noise, and one run in ten 1.3 to 3 times too long."""
    return rng.gauss(1.0, 0.015) * (rng.uniform(1.3, 3.0) if rng.random() < 0.1 else 1.0)


def bimodal(rng: random.Random) -> float:
    """One run in four hits a second mode, 25 % above the first."""
    return rng.gauss(1.25 if rng.random() < 0.25 else 1.0, 0.01)


SLOWDOWNS: Mapping[str, Slowdown] = {"quiet": quiet, "slow_phases": slow_phases, "drift": drift}
RUNS: Mapping[str, Run] = {"noisy": noisy, "bimodal": bimodal}


class SyntheticHost:
    """Gives visits of engines whose true times are known.

    Args:
        true_ms: graph key to the time of a run on the quiet host.
        slowdown: name of the factor on all times, by the second.
        run: name of the factor on one run.
    """

    SENTINEL_MS = 0.30

    def __init__(self, true_ms: Mapping[str, float], *, slowdown: str = "quiet", run: str = "noisy", seed: int = 0) -> None:
        self.true_ms = true_ms
        self.now_s = 0.0
        self._slowdown, self._run, self._rng = SLOWDOWNS[slowdown], RUNS[run], random.Random(seed)

    def visit(self, keys: Sequence[str], *, number: int, visit: int = 0, passes: int = 15) -> list[Visit]:
        """Time a group in turn in round `number`; it takes 0.1 s for each engine."""
        started_at = datetime(2030, 1, 1, tzinfo=UTC) + timedelta(seconds=self.now_s)
        samples: dict[str, list[float]] = {key: [] for key in keys}
        sentinel: list[float] = []
        for _ in range(passes):
            factor = self._slowdown(self.now_s)
            for key in keys:
                samples[key].append(self.true_ms[key] * factor * self._run(self._rng))
            sentinel += [self.SENTINEL_MS * factor * noisy(self._rng) for _ in range(4)]
            self.now_s += 0.1 * len(keys) / passes
        sentinel_ms = sorted(sentinel)[len(sentinel) // 2]
        return [
            Visit(
                graph_key=key,
                round=number,
                visit=visit,
                samples_ms=tuple(samples[key]),
                sentinel_ms=sentinel_ms,
                passes=passes,
                accepted=True,
                started_at=started_at,
            )
            for key in keys
        ]


@pytest.fixture
def synthetic_host() -> type[SyntheticHost]:
    return SyntheticHost
