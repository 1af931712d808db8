"""Evolution of discrete networks, generation by generation, under one or several goals.

It follows from the seed and from what candidates are worth. A selection that is resumed goes the same way again, and asks for
no accuracy that it knows.

Source: Guo et al., ECCV 2020 (single-path one-shot); Real et al., AAAI 2019.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from models.spaces.base import SearchSpace
from models.spaces.variation import RowChoices
from models.spec.errors import InvalidSpecError
from nas_client.search.config import SelectionSettings
from nas_client.search.progress import RngKey, Stream
from nas_client.selection.candidates import Candidate
from nas_client.selection.goals import Goal

Latencies = Callable[[Sequence[RowChoices]], tuple[NDArray[np.float64], NDArray[np.float64]]]
"""Estimates and their standard errors in ms; see `PopulationLatency`."""

Score = Callable[[RowChoices], float]
"""What a network is worth: its accuracy within the supernet."""

DRAWN = 500
"""Random networks that a first generation is chosen from."""

ROUNDS = 40
"""Rounds in which these are made faster, where too few meet a target."""

TRIES = 30
"""Children that are made for each that is wanted; some are known already, or too slow."""


class Evolution:
    """A selection in progress.

    Args:
        space: whose networks.
        settings: sizes and rates.
        seed: everything random follows from it.
        latencies: by the table.
        score: by the supernet.
        alternatives: those that networks may be; all of the space where None.
        known: candidates that other selections evaluated; they may be parents.
        found: receives each candidate that this one evaluates.

    Attributes:
        candidates: all so far, in the order in which they were found.
    """

    def __init__(
        self,
        space: SearchSpace,
        settings: SelectionSettings,
        seed: int,
        latencies: Latencies,
        score: Score,
        *,
        alternatives: Sequence[str] | None = None,
        known: Iterable[Candidate] = (),
        found: Callable[[Candidate], None] = lambda _: None,
    ) -> None:
        self._space, self._settings, self._seed = space, settings, seed
        self._latencies, self._score, self._found = latencies, score, found
        self._alternatives = space.alternatives() if alternatives is None else tuple(alternatives)
        self.candidates: list[Candidate] = []
        self._seen: set[RowChoices] = set()
        for candidate in known:
            self._add(candidate)

    def first(self, goal: Goal, place: int, suggested: Sequence[RowChoices] = ()) -> list[Candidate]:
        """The first generation of a goal: networks that are suggested, and random ones.

        Args:
            goal: which they meet.
            place: of the goal, for its random numbers.
            suggested: networks to begin with, where they meet the goal.

        Raises:
            InvalidSpecError: no network was found that meets the target, nor was one suggested; names the fastest.
        """
        rng = self._rng(place, 0)
        wanted = [choices for choices in suggested if self._admitted(goal, [choices])]
        random = self._random(goal, rng, needed=not wanted)
        return self._evaluate(goal, 0, [*wanted, *random][: self._settings.population])

    def generation(self, goal: Goal, place: int, number: int) -> list[Candidate]:
        """The children of the goal's best candidates so far; `number` counts generations, of which the first is 0."""
        settings, rng = self._settings, self._rng(place, number)
        parents = [candidate.choices for candidate in goal.best(self.candidates, settings.parents)]
        children: dict[RowChoices, RowChoices] = {}
        for _ in range(TRIES):
            made = [self._child(parents, rng) for _ in range(settings.population)]
            for child in self._admitted(goal, made):
                settled = self._space.settled(child)
                if settled not in self._seen:
                    children.setdefault(settled, child)
            if len(children) >= settings.population:
                break
        return self._evaluate(goal, number, list(children.values())[: settings.population])

    def _child(self, parents: Sequence[RowChoices], rng: np.random.Generator) -> RowChoices:
        """A mutant of one parent, or the mutant of what two parents have between them."""
        child = parents[int(rng.integers(len(parents)))]
        if len(parents) > 1 and rng.random() < self._settings.crossovers:
            child = self._space.crossover(child, parents[int(rng.integers(len(parents)))], rng)
        return self._mutant(child, rng)

    def _mutant(self, choices: RowChoices, rng: np.random.Generator) -> RowChoices:
        return self._space.mutate(choices, rng, rate=self._settings.mutation, alternatives=self._alternatives)

    def _draw(self, rng: np.random.Generator) -> RowChoices:
        return self._space.random_choices(rng, alternative=self._alternatives[int(rng.integers(len(self._alternatives)))])

    def _random(self, goal: Goal, rng: np.random.Generator, *, needed: bool) -> list[RowChoices]:
        """Random networks that meet the goal, none twice; where random ones do not, fast mutants of the fastest. None at all is
        an error where one is `needed`.
        """
        population = self._settings.population
        drawn = [self._draw(rng) for _ in range(max(DRAWN, population))]
        pool = {self._space.settled(choices): choices for choices in drawn}
        for _ in range(ROUNDS):
            admitted = self._admitted(goal, list(pool.values()))
            if len(admitted) >= population or goal.target_ms is None:
                break
            fastest = self._by_latency(list(pool.values()))[: max(DRAWN // 5, population)]
            mutants = [self._mutant(choices, rng) for choices in fastest]
            pool = {self._space.settled(choices): choices for choices in (*fastest, *mutants)}
        if not admitted and needed:
            fastest_ms = self._latencies(self._by_latency(list(pool.values()))[:1])[0][0]
            raise InvalidSpecError(
                f"selection.latency_ms: {goal.target_ms:g} is less than any network found takes by this table; the fastest "
                f"takes {fastest_ms:.4g} ms",
                hint="Name a larger target, or take a table of a smaller space or input.",
            )
        if goal.target_ms is None:  # evenly from the fastest to the slowest
            ordered = self._by_latency(admitted)
            return [ordered[place] for place in np.linspace(0, len(ordered) - 1, min(population, len(ordered))).astype(int)]
        return [admitted[place] for place in rng.permutation(len(admitted))[:population]]

    def _by_latency(self, networks: Sequence[RowChoices]) -> list[RowChoices]:
        return [networks[place] for place in np.argsort(self._latencies(networks)[0], kind="stable")]

    def _admitted(self, goal: Goal, networks: Sequence[RowChoices]) -> list[RowChoices]:
        if not networks:
            return []
        estimates = zip(networks, *self._latencies(networks), strict=True)
        return [choices for choices, ms, stderr_ms in estimates if goal.admits(float(ms), float(stderr_ms))]

    def _evaluate(self, goal: Goal, generation: int, networks: Sequence[RowChoices]) -> list[Candidate]:
        """Candidates of those networks that are not known yet."""
        settled = {self._space.settled(choices): choices for choices in networks}
        new = [choices for key, choices in settled.items() if key not in self._seen]
        found: list[Candidate] = []
        if not new:
            return found
        for choices, ms, stderr_ms in zip(new, *self._latencies(new), strict=True):
            candidate = Candidate(
                goal=goal.name,
                generation=generation,
                alternative=choices.alternative,
                latency_ms=float(ms),
                stderr_ms=float(stderr_ms),
                accuracy=self._score(choices),
                choices=choices,
                architecture=self._space.network_of(choices),
            )
            found.append(candidate)
            self._add(candidate)
            self._found(candidate)
        return found

    def _add(self, candidate: Candidate) -> None:
        self._seen.add(self._space.settled(candidate.choices))
        self.candidates.append(candidate)

    def _rng(self, place: int, generation: int) -> np.random.Generator:
        return RngKey(self._seed, phase=place, epoch=generation).rng(Stream.SELECTION)
