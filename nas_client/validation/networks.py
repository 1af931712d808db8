"""Networks to validate on: drawn from a search space, and measured by a service."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.networks.module import network_costs
from models.spaces.base import SearchSpace
from models.spec.architectures import ArchitectureSpec
from models.spec.errors import InvalidSpecError
from models.spec.operators import OperatorSpec

DRAWS_IN_VAIN = 200
"""Draws in a row that bring no new architecture, after which the space counts as exhausted."""


@dataclass(frozen=True)
class Network:
    """An architecture and what is known of it before it is measured.

    Attributes:
        operators: the terms of its estimate, repeats included.
        macs: multiply-adds of the whole network.
    """

    architecture: ArchitectureSpec
    operators: tuple[OperatorSpec, ...]
    macs: int


def sample_networks(space: SearchSpace, count: int, *, seed: int) -> tuple[Network, ...]:
    """Different random architectures of a space; the same for the same seed.

    Raises:
        InvalidSpecError: the space has fewer different architectures than asked for, as far as sampling can tell.
    """
    rng = np.random.default_rng(seed)
    found: dict[str, ArchitectureSpec] = {}
    in_vain = 0
    while len(found) < count:
        architecture = space.sample(rng)
        in_vain = in_vain + 1 if architecture.key() in found else 0
        found[architecture.key()] = architecture
        if in_vain > DRAWS_IN_VAIN:
            raise InvalidSpecError(
                f"{space.spec.label()} has hardly more than {len(found)} different networks; {count} were asked for",
                hint="Ask for fewer.",
            )
    return tuple(describe(space, architecture) for architecture in found.values())


def describe(space: SearchSpace, architecture: ArchitectureSpec) -> Network:
    """What is known of an architecture without measuring it."""
    plan = space.plan(architecture)
    return Network(architecture, tuple(plan.operators()), network_costs(plan).macs)
