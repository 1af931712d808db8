"""Candidates of a selection: what is known of each, and the front that they make."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from models.spaces.variation import RowChoices
from models.spec.architectures import ArchitectureSpec
from models.spec.base import Record, canonical_json

CANDIDATES = "candidates.jsonl"
"""A line for each candidate, in the order in which they were evaluated."""


class Candidate(Record):
    """One discrete network.

    Attributes:
        goal: for which it was made first: `7 ms`, `front`, or `known`, where another selection evaluated it.
        generation: counted from 0.
        alternative: as of the space.
        latency_ms, stderr_ms: its estimate by the table, and that of the estimate's error.
        accuracy: mIoU within the supernet, on the images of selection.
        trained: mIoU on these images after a short training; None where it had none.
        choices: of every row.
        architecture: the network.
    """

    goal: str
    generation: int
    alternative: str
    latency_ms: float
    stderr_ms: float
    accuracy: float
    trained: float | None = None
    choices: RowChoices
    architecture: ArchitectureSpec

    def bound_ms(self, sigmas: float) -> float:
        """Its estimate with so many standard errors of it."""
        return self.latency_ms + sigmas * self.stderr_ms


def front(candidates: Iterable[Candidate], *, sigmas: float = 0.0) -> tuple[Candidate, ...]:
    """Those that none beats in one of latency and accuracy without losing in the other; ascending in both.

    Args:
        candidates: in any order. Accuracies are those within the supernet.
        sigmas: standard errors that count to a latency.
    """
    found: list[Candidate] = []
    for candidate in sorted(candidates, key=lambda c: (c.bound_ms(sigmas), -c.accuracy)):
        if not found or candidate.accuracy > found[-1].accuracy:
            found.append(candidate)
    return tuple(found)


def spread_over(candidates: Sequence[Candidate], count: int) -> list[Candidate]:
    """So many of them, evenly over their order, the first and the last included; all where there are no more."""
    if count >= len(candidates):
        return list(candidates)
    if count < 2:
        return list(candidates[-1:] if count else ())
    last = len(candidates) - 1
    return [candidates[round(place * last / (count - 1))] for place in range(count)]


def read_candidates(path: Path) -> list[Candidate]:
    """The candidates of a file; none where there is no file. A last line that was cut off is left out.

    Raises:
        InvalidSpecError: a line is none; names it.
    """
    if not path.exists():
        return []
    lines = path.read_bytes().split(b"\n")[:-1]
    return [Candidate.parse_json(line, source=f"{path}, line {number}") for number, line in enumerate(lines, 1)]


def append_candidates(path: Path, candidates: Iterable[Candidate]) -> None:
    """Add lines to a file, in place of a last line that was cut off. Raises OSError."""
    with path.open("ab+") as file:
        file.seek(-1 if file.tell() else 0, os.SEEK_END)
        if file.read(1) not in (b"", b"\n"):
            file.truncate(path.read_bytes().rfind(b"\n") + 1)
        file.writelines(f"{canonical_json(candidate.model_dump(mode='json'))}\n".encode() for candidate in candidates)
