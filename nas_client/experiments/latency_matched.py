"""Random architectures whose estimated latency matches that of a given one."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Literal

import numpy as np
from scipy.special import softmax

from models.spaces.base import SearchSpace
from models.spaces.registry import create_space
from models.spec.architectures import ArchitectureSpec
from nas_client.errors import ExperimentError
from nas_client.estimates import whole_sum_ms
from nas_client.table import LookupTable

Baseline = Literal["sampled", "decoded"]
BASELINES: Mapping[Baseline, str] = {"sampled": "random", "decoded": "decoded"}
"""The kinds of random networks that a student is compared with, and what the folders of their trainings are called."""

NOISE = 1e-3
"""Deviation of random logits from where the space has a search start: as small as a search's own. Operators and widths, the
largest of equally distributed logits, do not depend on it. What rows of β choose together does: only small noise is even."""

MOST_TRIES = 20_000
"""Samples drawn for the random networks of one seed, before it is given up."""


def latency_matched(
    found: ArchitectureSpec, table: LookupTable, *, networks: int, tolerance: float, seed: int, baseline: Baseline = "sampled"
) -> tuple[tuple[ArchitectureSpec, ...], int]:
    """Random architectures whose estimate is that of the found one up to the tolerance; and how many were drawn for them.

    None is the found one, and none comes twice.

    Raises:
        ExperimentError: `MOST_TRIES` were too few.
        MissingEntryError: the table is not complete.
    """
    space = create_space(table.info.space)
    wanted_ms = whole_sum_ms(found, table)
    rng = np.random.default_rng(seed)
    draw = partial(_decoded, space, rng) if baseline == "decoded" else partial(space.sample, rng)
    matched: dict[str, ArchitectureSpec] = {}
    for tries in range(1, MOST_TRIES + 1):
        sample = draw()
        sample_ms = sum(map(table.lookup, space.architecture_operators(sample)))
        if sample.key() != found.key() and abs(sample_ms - wanted_ms) <= tolerance * wanted_ms:
            matched.setdefault(sample.key(), sample)
            if len(matched) == networks:
                return tuple(matched.values()), tries
    range_ms = f"{wanted_ms:.4g} ms ± {tolerance:.0%}"
    raise ExperimentError(
        f"of {MOST_TRIES} random architectures {len(matched)} are estimated at {range_ms}; {networks} are needed",
        hint="Ask for fewer networks, or for a larger tolerance.",
    )


def _decoded(space: SearchSpace, rng: np.random.Generator) -> ArchitectureSpec:
    """What a search would end in that had learned nothing, and an alternative that happened to be best."""
    alternatives, start = space.alternatives(), space.initial_logits()
    logits = {
        granularity: {
            group: NOISE * rng.standard_normal(shape) + np.asarray(start.get(granularity, {}).get(group, 0.0))
            for group, shape in groups.items()
        }
        for granularity, groups in space.parameter_shapes().items()
    }
    given = {name: {group: softmax(rows, axis=-1) for group, rows in groups.items()} for name, groups in logits.items()}
    return space.decode(given, alternative=alternatives[rng.integers(len(alternatives))])
