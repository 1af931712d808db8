"""Searches small enough for unit tests."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from typing import Any

from models.spaces.registry import create_space
from models.spec.architectures import SpaceSpec
from nas_client.runs.processes import Processes
from nas_client.search.config import SearchConfig
from nas_client.search.epochs import Phase
from nas_client.search.learner import Learner
from nas_client.search.progress import SearchObserver
from nas_client.table import LookupTable
from tests.support.fake_service import make_table

SPACE = create_space(
    SpaceSpec(name="fasterseg", input_size=(64, 64), parameters={"layers": 3, "base_channels": 3, "widths": (4, 8)})
)

SMALL: dict[str, Any] = {
    "seed": 5,
    "data": {"image_size": (64, 64), "train_images": 8, "val_images": 2},
    "image_scale": 1.0,
    "pretrain": {"epochs": 1, "batch_size": 2, "crop": (64, 64), "random_widths": 1},
    "search": {"epochs": 2, "batch_size": 2, "crop": (64, 64)},
    "evaluation": {"statistics_batches": 1},
}


def small(**changes: Any) -> SearchConfig:
    """Two steps an epoch; `search__epochs=3` changes a nested field."""
    data = {name: dict(value) if isinstance(value, dict) else value for name, value in SMALL.items()}
    for name, value in changes.items():
        *outer, last = name.split("__")
        inner = data
        for part in outer:
            inner = inner.setdefault(part, {})
        inner[last] = value
    return SearchConfig.parse(data)


class StopAfter(SearchObserver):
    """Sends a signal after so many steps."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def step(self, phase: Phase, done: int, total: int, losses: Mapping[str, float]) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGTERM)


def small_table(space: SpaceSpec = SPACE.spec) -> LookupTable:
    """A complete table of a space."""
    return LookupTable(make_table(space))


def prepared(config: SearchConfig | None = None, table: LookupTable | None = None) -> Learner:
    """What a search trains, about to make the first step of the search phase."""
    found = table or small_table()
    learner = Learner(config or small(), create_space(found.info.space), found, Processes())
    learner.start_phase("search")
    return learner
