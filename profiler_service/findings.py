"""What `doctor` says: one finding for each thing that it looks at."""

from __future__ import annotations

from enum import StrEnum

from models.spec.base import Record


class Outcome(StrEnum):
    """What a check found."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


class Finding(Record):
    """One check. `hint` is the next step, empty where none is needed."""

    name: str
    outcome: Outcome
    detail: str
    hint: str = ""
