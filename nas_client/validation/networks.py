"""Networks to validate on: drawn from a search space, and measured by a service."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.networks.module import network_costs
from models.spaces.base import SearchSpace
from models.spec.architectures import ArchitectureSpec
from models.spec.errors import InvalidSpecError
from models.spec.measurements import Measurement
from models.spec.operators import OperatorSpec


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


@dataclass(frozen=True)
class MeasuredNetwork:
    """A network and its measurement, whatever came of it; None where the service has none."""

    network: Network
    measurement: Measurement | None

    @property
    def measured_ms(self) -> float | None:
        """Its latency; None where measuring failed."""
        return None if self.measurement is None else self.measurement.value_ms


def sample_networks(space: SearchSpace, count: int, *, seed: int) -> tuple[Network, ...]:
    """Different random architectures of a space; the same for the same seed.

    Raises:
        InvalidSpecError: the space has fewer different architectures than asked for, as far as sampling can tell.
    """
    rng = np.random.default_rng(seed)
    found: dict[str, ArchitectureSpec] = {}
    for _ in range(20 * count):
        if len(found) == count:
            break
        architecture = space.sample(rng)
        found.setdefault(architecture.key(), architecture)
    if len(found) < count:
        raise InvalidSpecError(
            f"{20 * count} draws from {space.spec.label()} gave {len(found)} different networks, not {count}"
        )
    return tuple(describe(space, architecture) for architecture in found.values())


def describe(space: SearchSpace, architecture: ArchitectureSpec) -> Network:
    """What is known of an architecture without measuring it."""
    plan = space.plan(architecture)
    return Network(architecture, tuple(plan.operators()), network_costs(plan).macs)
