"""How a command ended, for tests that run console scripts in their own process."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Ended:
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """Its one JSON document; fails if stdout holds anything else."""
        return json.loads(self.out)


Command = Callable[..., Ended]
