"""How a selection ended: the networks that it chose, the front, and how far its ranking is to be relied on."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from models.spec.base import Record, canonical_json
from nas_client.plotting import save
from nas_client.runs.manifest import RESULT
from nas_client.search.config import SearchConfig
from nas_client.search.objective import objective
from nas_client.selection.candidates import Candidate
from nas_client.selection.goals import Goal
from nas_client.selection.plots import plot_front
from nas_client.selection.short_trainings import LEAST_CORRELATION, rank_correlation

FRONT = "front.json"


class SelectionResult(Record):
    """How a selection ended (`result.json`).

    Attributes:
        finished: False where it was stopped, and goes on with `--resume`.
        search: folder of the search whose supernet ranked the candidates.
        supernet: digest of its weights.
        role: which of the supernet's.
        table, target: by which latencies were estimated.
        sigmas: standard errors that count to a latency.
        evaluated, known: candidates that this selection evaluated, and those that it took over.
        seconds: that the evaluation of one candidate took in the mean; None where none was evaluated.
        chosen: by goal, its network.
        front: the front of accuracy within the supernet and latency.
        trained: the candidates that were trained shortly.
        rank_correlation: Spearman's ρ of the supernet's accuracies with those after the short trainings; None of too few.
        warnings: what speaks against the ranking, in sentences.
    """

    finished: bool
    search: str
    supernet: str
    role: str
    table: str
    target: str
    sigmas: float
    evaluated: int
    known: int
    seconds: float | None
    chosen: Mapping[str, Candidate] = {}
    front: tuple[Candidate, ...] = ()
    trained: tuple[Candidate, ...] = ()
    rank_correlation: float | None = None
    warnings: tuple[str, ...] = ()


def choose(goal: Goal, candidates: Iterable[Candidate], shortlist: Sequence[Candidate], config: SearchConfig) -> Candidate:
    """The network of a goal: of its shortlist, if that was trained, else of all. Below a target it is the most accurate; on the
    front that with the best ACC·(LAT/T)^w.

    Raises:
        ParameterError: a latency is not positive.
    """
    short = all(candidate.trained is not None for candidate in shortlist) and bool(shortlist)

    def accuracy(candidate: Candidate) -> float:
        return candidate.trained if short and candidate.trained is not None else candidate.accuracy

    def worth(candidate: Candidate) -> tuple[float, float]:
        if goal.target_ms is not None:
            return accuracy(candidate), candidate.accuracy
        traded = objective(accuracy(candidate), candidate.latency_ms, target_ms=config.target_ms, exponent=config.exponent)
        return traded, candidate.accuracy

    admitted = [c for c in (shortlist if short else candidates) if goal.admits(c.latency_ms, c.stderr_ms)]
    return max(admitted, key=worth)


def self_check(trained: Sequence[Candidate], *, certain: bool) -> tuple[float | None, tuple[str, ...]]:
    """The rank correlation of the supernet with the short trainings, and what speaks against the ranking.

    Args:
        trained: candidates with both accuracies.
        certain: whether all of the table's entries say how certain they are.
    """
    warnings = []
    pairs = [(c.accuracy, c.trained) for c in trained if c.trained is not None]
    correlation = rank_correlation([within for within, _ in pairs], [shortly for _, shortly in pairs])
    if not trained:
        warnings.append("No network was trained shortly: whether the supernet ranks networks at all was not checked.")
    elif correlation is None:
        warnings.append(f"{len(trained)} short trainings are too few, or too alike, to check the supernet's ranking.")
    elif correlation < LEAST_CORRELATION:
        warnings.append(
            f"The supernet's ranking of {len(trained)} networks has a rank correlation of {correlation:.2f} with their short "
            f"trainings; below {LEAST_CORRELATION:g} it is not to be relied on. Train the supernet or the networks for longer."
        )
    if not certain:
        warnings.append("Entries of the table do not say how certain they are; they count as certain.")
    return correlation, tuple(warnings)


def write_selection(result: SelectionResult, everything: Iterable[Candidate], folder: Path) -> None:
    """`result.json`; where networks were chosen, `front.json`, its figure (SVG), and an architecture for each goal.

    The first goal's is `ROLE.json`, as of every search, and each `ROLE-GOAL.json`, such as `student-7ms.json`.

    Raises:
        OSError: a file cannot be written.
    """
    (folder / RESULT).write_text(result.model_dump_json(indent=2) + "\n", encoding="utf-8")
    if not result.chosen:
        return
    points = [candidate.model_dump(mode="json") for candidate in result.front]
    (folder / FRONT).write_text(canonical_json({"table": result.table, "front": points}) + "\n", encoding="utf-8")
    save(plot_front(result, list(everything)), (folder / FRONT).with_suffix(".svg"))
    names = [result.role, *(f"{result.role}-{re.sub(r'[^a-z0-9.]', '', goal)}" for goal in result.chosen)]
    for name, candidate in zip(names, [next(iter(result.chosen.values())), *result.chosen.values()], strict=True):
        path = folder / f"{name}.json"
        path.write_text(candidate.architecture.model_dump_json(indent=2) + "\n", encoding="utf-8")
