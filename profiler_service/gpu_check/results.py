"""How a part ended, as its `result.json` says: the one file that decides whether it is repeated."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import Field

from models.atomic_file import replacing
from models.spec.base import Record, UtcTime

FILE = "result.json"


class Outcome(StrEnum):
    """How far a part came."""

    DONE = "done"
    """Everything of it was measured, and every check passed."""
    SKIPPED = "skipped"
    """It makes no sense here; `reason` says why."""
    UNFINISHED = "unfinished"
    """Its time was up; the same part goes on where it was."""
    FAILED = "failed"
    """A command or a check failed; `reason` says which."""


class Check(Record):
    """One thing that must hold, or, with `aim`, that is aimed at and only reported."""

    name: str
    passed: bool
    detail: str
    aim: bool = False


class CommandRecord(Record):
    """One command that the part ran. Its output is in `NAME.out` and `NAME.err` beside the result."""

    name: str
    arguments: tuple[str, ...]
    environment: dict[str, str]
    returncode: int
    seconds: float


class PartResult(Record):
    """Everything about one run of a part but its raw files.

    Attributes:
        summary: the part's own numbers.
        visits: that its databases held when it was interrupted; 0 where it was not. More of them is how one call that was not
            enough shows that it came forward.
        provenance: of the code and the box, and which settings of the environment were not the usual ones, by their variable.
    """

    version: int = 1
    part: str
    outcome: Outcome
    reason: str = ""
    checks: tuple[Check, ...] = ()
    summary: dict[str, Any] = Field(default_factory=dict)
    visits: int = 0
    commands: tuple[CommandRecord, ...] = ()
    started_at: UtcTime
    seconds: float
    provenance: dict[str, str] = Field(default_factory=dict)

    @property
    def finished(self) -> bool:
        """Whether there is nothing to repeat."""
        return self.outcome is Outcome.DONE


def read_result(folder: Path) -> PartResult | None:
    """The result in that folder; None where there is none."""
    path = folder / FILE
    return PartResult.parse_json(path.read_bytes(), source=str(path)) if path.exists() else None


def write_result(result: PartResult, folder: Path) -> None:
    """Put the result into the part's folder, in place of an earlier one."""
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / FILE) as part:
        part.write_text(result.model_dump_json(indent=2) + "\n")
