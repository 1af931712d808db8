"""A selection from the supernet of a finished search: evolution, short trainings, and the networks that are chosen."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from models.spaces.variation import RowChoices
from models.supernets.base import Supernet
from nas_client.errors import CheckpointError
from nas_client.latency.population import OperatorCounts, PopulationLatency
from nas_client.runs.checkpoints import Checkpoints
from nas_client.runs.manifest import require_run
from nas_client.runs.processes import Processes
from nas_client.runs.stopping import StopRequest
from nas_client.search.config import SearchConfig
from nas_client.search.cosearch import LAST
from nas_client.search.first_weights import searched_probabilities
from nas_client.search.progress import PHASES, Position
from nas_client.search.selection_images import selection_split
from nas_client.search.setup import SearchData, open_space
from nas_client.search.updates import SegmentationPass
from nas_client.selection.candidates import CANDIDATES, Candidate, append_candidates, front, read_candidates, spread_over
from nas_client.selection.evolution import Evolution
from nas_client.selection.goals import Goal, goals_of
from nas_client.selection.inputs import (
    begin,
    inputs_of,
    other_space,
    own_network,
    read_inputs,
    require_space_of,
    selection_config,
)
from nas_client.selection.outcome import SelectionResult, choose, self_check, write_selection
from nas_client.selection.scoring import SupernetScorer
from nas_client.selection.short_trainings import train_shortly
from nas_client.table import LookupTable
from nas_client.train.weights import weights_digest

SELECTION = "selection"
"""Folder of the selection that a search by evolution ends with, in its own."""

Watch = Callable[[str, int, int], None]
"""Receives what is being done, how much of it is done, and of how much."""


class _StoppedError(Exception):
    """A signal asked for the end."""


def select(
    run: Path,
    table: LookupTable,
    folder: Path,
    config: SearchConfig | None = None,
    *,
    rerank: bool | None = None,
    resume: bool = False,
    processes: Processes | None = None,
    watch: Watch | None = None,
) -> SelectionResult:
    """Select networks from the supernet of a search.

    The folder gets `run.json`, `config.yaml`, `inputs.json`, `candidates.jsonl` (see `Candidate`), `trainings/`, and what
    `write_selection` writes. Accuracies that the selection within the search's folder found are taken over, whatever its table.

    Args:
        run: folder of the search.
        table: of its space, on any target.
        folder: of the selection.
        config: of `selection_config`; the search's own where None.
        rerank: whether the best are trained shortly; where None, unless the search's folder has a selection already.
        resume: go on with the selection in the folder.
        processes: among which images and trainings are shared.
        watch: receives the progress.

    Raises:
        RunFolderError: a folder holds another kind of run.
        CheckpointError: the folder holds a selection and `resume` is not set, or one of other inputs; the search has not ended;
            or its supernet is of another space than the table.
        MissingEntryError, InvalidSpecError, DatasetError, ShapeError: configuration, table and data set do not fit together.
        DivergenceError: a loss of a short training is not a number.
    """
    selection = Selection(run, table, config or selection_config(run), processes or Processes(), watch)
    return selection.into(folder, rerank=rerank, resume=resume)


class Selection:
    """A selection in progress; arguments as of `select`."""

    def __init__(
        self,
        run: Path,
        table: LookupTable,
        config: SearchConfig,
        processes: Processes,
        watch: Watch | None = None,
    ) -> None:
        require_run(run, "search")
        self._run, self._table, self._config, self._processes = run, table, config, processes
        self._watch = watch or (lambda what, done, total: None)
        self._space = open_space(config, table)
        self._role = self._space.searched_role()
        require_space_of(run, self._space, self._role.name)
        self._counts = OperatorCounts(self._space)
        self._latencies = PopulationLatency(self._counts, table)
        self._goals = goals_of(config.selection)
        saved = Checkpoints(run).read(LAST)
        if not _has_ended(Position.of(saved["position"]), config):
            raise CheckpointError(f"{run}: the search has not ended", hint="Finish it with `nas-client search --resume`.")
        self._state: Mapping[str, Any] = saved["learner"]
        self._supernet = weights_digest(self._state["supernet"])
        checked = config.model_copy(update={"check_data": False})  # by the search
        self._data = SearchData.open(checked, self._space, processes)
        self._split = selection_split(len(self._data.train), config)
        self._seconds: list[float] = []

    def into(self, folder: Path, *, rerank: bool | None, resume: bool) -> SelectionResult:
        """Select, from the start or from where the selection in that folder stopped."""
        former = self._run / SELECTION
        inputs = inputs_of(
            self._config, self._table, self._supernet, role=self._role.name, images=self._split[1], rerank=rerank is not False
        )
        before = None if folder.resolve() == former.resolve() else read_inputs(former)
        takes_over = before is not None and before.scored_by == inputs.scored_by
        if takes_over and rerank is None:
            inputs = inputs.model_copy(update={"rerank": False})
        begin(folder, inputs, self._processes, resume=resume)
        known = self._taken_over(former) if takes_over else []
        evaluated = {self._space.settled(c.choices): c.accuracy for c in read_candidates(folder / CANDIDATES)}
        self._processes.wait()  # all have read the file before one goes on writing it
        with StopRequest() as stop:
            evolution = self._evolution(folder, known, evaluated, stop)
            try:
                first = self._evolve(evolution)
                shortlists = self._shortlists(evolution.candidates)
                trained = self._rerank(first, shortlists, folder, stop) if inputs.rerank else {}
            except _StoppedError:
                result = self._result(evolution, len(known), finished=False)
            else:
                result = self._result(evolution, len(known), finished=True, shortlists=shortlists, trained=trained)
        if self._processes.is_main:
            write_selection(result, evolution.candidates, folder)
        self._processes.wait()
        return result

    def _taken_over(self, former: Path) -> list[Candidate]:
        """The candidates of another selection, with their latencies by this table, and their networks at its input size."""
        found = read_candidates(former / CANDIDATES)
        if not found:
            return []
        networks = [own_network(candidate, self._space, self._run) for candidate in found]
        estimates = zip(networks, *self._latencies([candidate.choices for candidate in found]), strict=True)
        changes = [
            {"goal": "known", "latency_ms": float(ms), "stderr_ms": float(error), "architecture": network}
            for network, ms, error in estimates
        ]
        return [candidate.model_copy(update=update) for candidate, update in zip(found, changes, strict=True)]

    def _evolution(
        self, folder: Path, known: list[Candidate], evaluated: Mapping[RowChoices, float], stop: StopRequest
    ) -> Evolution:
        settings, path = self._config.selection, folder / CANDIDATES
        total = len(self._goals) * (1 + settings.generations) * settings.population
        scorer: SupernetScorer | None = None
        done = 0

        def score(choices: RowChoices) -> float:
            nonlocal scorer
            if self._processes.any(stop.requested):
                raise _StoppedError
            if (before := evaluated.get(self._space.settled(choices))) is not None:
                return before
            scorer = scorer or self._scorer()
            started = time.perf_counter()
            accuracy = scorer(choices)
            self._seconds.append(time.perf_counter() - started)
            return accuracy

        def found(candidate: Candidate) -> None:
            nonlocal done
            done += 1
            self._watch("candidates", done, total)
            if self._processes.is_main and self._space.settled(candidate.choices) not in evaluated:
                append_candidates(path, [candidate])

        return Evolution(
            self._space,
            settings,
            self._config.seed,
            self._latencies,
            score,
            alternatives=self._alternatives,
            known=known,
            found=found,
        )

    @cached_property
    def _alternatives(self) -> tuple[str, ...]:
        """Those that the supernet has trained heads for."""
        heads = self._config.heads
        return tuple(label for label in self._space.alternatives() if not heads or label in heads)

    @cached_property
    def _trained(self) -> Supernet:
        """The search's supernet."""
        supernet = self._space.supernet()
        try:
            supernet.load_state_dict(self._state["supernet"])
        except RuntimeError as error:
            raise other_space(self._run, self._space, str(error).splitlines()[-1].strip()) from error
        return supernet

    def _scorer(self) -> SupernetScorer:
        supernet = self._trained
        self._processes.prepare(supernet)
        passes = SegmentationPass(supernet, supernet.alternatives, self._config, self._processes)
        return SupernetScorer(passes, self._space, self._role.name, self._data, *self._split)

    def _evolve(self, evolution: Evolution) -> list[Candidate]:
        """All generations; returns the first."""
        suggested = self._decoded() if self._config.method == "gradient" else []
        first = [c for place, goal in enumerate(self._goals) for c in evolution.first(goal, place, suggested)]
        for number in range(1, self._config.selection.generations + 1):
            for place, goal in enumerate(self._goals):
                evolution.generation(goal, place, number)
        return first

    def _decoded(self) -> list[RowChoices]:
        """The networks that a gradient search chooses from, every operator as it is most probable."""
        logits = self._state["networks"][self._role.name]
        found = searched_probabilities(self._space, self._role, logits, self._trained)
        return [self._space.most_probable_choices(found, alternative) for alternative in self._alternatives]

    def _shortlists(self, candidates: Sequence[Candidate]) -> dict[Goal, list[Candidate]]:
        return {goal: goal.best(candidates, max(1, self._config.selection.shortlist)) for goal in self._goals}

    def _rerank(
        self, first: list[Candidate], shortlists: Mapping[Goal, list[Candidate]], folder: Path, stop: StopRequest
    ) -> dict[str, float]:
        """Short trainings of all shortlists, and of candidates that check the ranking."""
        ranked = sorted(first, key=lambda candidate: candidate.accuracy)
        wanted = [c for shortlist in shortlists.values() for c in shortlist]
        wanted += spread_over(ranked, self._config.selection.check)

        def progress(done: int, total: int) -> None:
            self._watch("short trainings", done, total)
            if self._processes.any(stop.requested):
                raise _StoppedError

        found = train_shortly(wanted, self._config, self._data.train, self._split, folder, self._processes, progress)
        if found is None:
            raise _StoppedError
        return found

    def _result(
        self,
        evolution: Evolution,
        known: int,
        *,
        finished: bool,
        shortlists: Mapping[Goal, Sequence[Candidate]] | None = None,
        trained: Mapping[str, float] | None = None,
    ) -> SelectionResult:
        scores = trained or {}
        everything = [_with_score(candidate, scores) for candidate in evolution.candidates]
        shortly = [candidate for candidate in everything if candidate.trained is not None]
        correlation, warnings = self_check(shortly, certain=self._latencies.certain)
        chosen = {
            goal.name: choose(goal, everything, [_with_score(c, scores) for c in shortlist], self._config)
            for goal, shortlist in (shortlists or {}).items()
        }
        return SelectionResult(
            finished=finished,
            search=str(self._run),
            supernet=self._supernet,
            role=self._role.name,
            table=self._table.info.id(),
            target=self._table.info.target.label(),
            sigmas=self._config.selection.sigmas,
            evaluated=len(evolution.candidates) - known,
            known=known,
            seconds=sum(self._seconds) / len(self._seconds) if self._seconds else None,
            chosen=chosen,
            front=front(everything, sigmas=self._config.selection.sigmas) if finished else (),
            trained=tuple(shortly),
            rank_correlation=correlation,
            warnings=warnings,
        )


def _has_ended(position: Position, config: SearchConfig) -> bool:
    """Whether no phase has epochs left. Searches of earlier releases had fewer phases."""
    left = enumerate(PHASES[position.phase :])
    return all(config.epochs(phase) <= (0 if place else position.epoch) for place, phase in left)


def _with_score(candidate: Candidate, trained: Mapping[str, float]) -> Candidate:
    score = trained.get(candidate.architecture.key()) if trained else None
    return candidate if score is None else candidate.model_copy(update={"trained": score})
