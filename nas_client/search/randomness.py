"""Random numbers of a search's steps. Each step's follow from its place alone: nothing needs to be saved to resume, and all
processes of a run draw the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np


class Stream(IntEnum):
    """Uses of random numbers that must not meet."""

    WEIGHTS = 0
    LOGITS = 1
    WIDTHS = 2
    GUMBEL = 3
    LATENCY = 4


@dataclass(frozen=True)
class RngKey:
    """Where a search is: the run's seed, the phase (0 or 1), the epoch, and the step in it."""

    seed: int
    phase: int = 0
    epoch: int = 0
    step: int = 0

    def seed_of(self, stream: Stream) -> int:
        """For a generator of torch's."""
        return int(self._sequence(stream).generate_state(1, np.uint64)[0] >> np.uint64(1))

    def rng(self, stream: Stream) -> np.random.Generator:
        """A generator of numpy's."""
        return np.random.default_rng(self._sequence(stream))

    def _sequence(self, stream: Stream) -> np.random.SeedSequence:
        return np.random.SeedSequence([stream, self.seed, self.phase, self.epoch, self.step])
