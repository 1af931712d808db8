"""Where a search is, the random numbers of that step, and who is informed.

The random numbers of a step follow from its position alone. A checkpoint need not save them, and all processes draw the same.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, get_args

import numpy as np

from nas_client.search.epochs import Phase, SearchEpoch


class Stream(IntEnum):
    """What random numbers are used for. Different uses must not share numbers."""

    WEIGHTS = 0
    LOGITS = 1
    WIDTHS = 2
    GUMBEL = 3
    LATENCY = 4
    PATHS = 5
    DECKS = 6
    SELECTION = 7
    PERTURBATION = 8


@dataclass(frozen=True)
class RngKey:
    """Determines a step's random numbers: the run's seed, the phase (from 0), the epoch, and the step in it."""

    seed: int
    phase: int = 0
    epoch: int = 0
    step: int = 0

    def seed_of(self, stream: Stream) -> int:
        """The seed of a torch generator."""
        return int(self._sequence(stream).generate_state(1, np.uint64)[0] >> np.uint64(1))

    def rng(self, stream: Stream) -> np.random.Generator:
        """A NumPy generator."""
        return np.random.default_rng(self._sequence(stream))

    def _sequence(self, stream: Stream) -> np.random.SeedSequence:
        return np.random.SeedSequence([stream, self.seed, self.phase, self.epoch, self.step])


PHASES: tuple[Phase, ...] = get_args(Phase)
SEARCHING: tuple[Phase, ...] = ("search", "second")
"""Those that train architecture parameters."""


class SearchObserver:
    """Receives the progress of a search. This class ignores it; a subclass shows it."""

    def step(self, phase: Phase, done: int, total: int, losses: Mapping[str, float]) -> None:
        """After each step: how many of the phase's steps are done, and this one's losses."""

    def epoch(self, record: SearchEpoch) -> None:
        """After each epoch."""

    def selection(self, what: str, done: int, total: int) -> None:
        """While networks are selected: what is being done, how much of it is done, and of how much."""


@dataclass
class Position:
    """The step that comes next, and what the steps of its epoch so far add up to.

    Attributes:
        phase: index into PHASES; one beyond where the search is over.
        epoch, step: counted from 0, in the phase and in the epoch.
        losses: sums over the epoch's steps, by name.
        step_s, latency_s: time of these steps, and of their latency losses.
    """

    phase: int = 0
    epoch: int = 0
    step: int = 0
    losses: dict[str, float] = field(default_factory=dict)
    step_s: float = 0.0
    latency_s: float = 0.0

    @property
    def over(self) -> bool:
        """Whether there is nothing left to do."""
        return self.phase >= len(PHASES)

    @property
    def phase_name(self) -> Phase:
        """The phase, or the last one where the search is over."""
        return PHASES[min(self.phase, len(PHASES) - 1)]

    def rng_key(self, seed: int) -> RngKey:
        """The key of the step's random numbers."""
        return RngKey(seed, self.phase, self.epoch, self.step)

    def where(self) -> str:
        """The position, for messages."""
        return f"{self.phase_name} epoch {self.epoch}, step {self.step}"

    def count(self, losses: Mapping[str, float], step_s: float, latency_s: float) -> None:
        """Count a step that is done."""
        for name, value in losses.items():
            self.losses[name] = self.losses.get(name, 0.0) + value
        self.step_s += step_s
        self.latency_s += latency_s
        self.step += 1

    def after_epoch(self) -> Position:
        """The first step of the next epoch."""
        return Position(self.phase, self.epoch + 1)

    def after_phase(self) -> Position:
        """The first step of the next phase."""
        return Position(self.phase + 1)

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return dataclasses.asdict(self)

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> Position:
        """From a checkpoint."""
        return cls(**state)
