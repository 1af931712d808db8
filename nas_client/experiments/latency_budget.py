"""The budget of a search space: what its networks take beyond that which all of them take, and networks drawn within it.

A final upsampling, say, is part of every network. A tolerance that is a fraction of the whole latency then lets the part that
differs vary at will. Here it is a fraction of the budget.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from models.spaces.registry import create_space
from models.spaces.variation import RowChoices
from models.spec.architectures import ArchitectureSpec
from nas_client.errors import ExperimentError
from nas_client.latency.population import OperatorCounts, PopulationLatency
from nas_client.table import LookupTable

POOL = 2000
"""Random networks by which the budget and its quantiles are taken."""

_BATCH, _MOST_TRIES = 500, 40_000


class LatencyBudget:
    """What the networks of a table's space take.

    Args:
        table: complete.

    Attributes:
        space: of the table.
        fixed_ms: what every one of `POOL` random networks takes: its operators are in all of them.
        pool: these networks.
        pool_ms: their estimates, in ms. Shape: (networks,).

    Raises:
        MissingEntryError: the table lacks an operator.
        InvalidSpecError: the space's graph does not add up to its plans.
    """

    def __init__(self, table: LookupTable) -> None:
        self.space = create_space(table.info.space)
        counts = OperatorCounts(self.space)
        self._latencies = PopulationLatency(counts, table)
        rng = np.random.default_rng(0)
        self.pool = [self.space.random_choices(rng) for _ in range(POOL)]
        self.pool_ms, _ = self._latencies(self.pool)
        least = counts(self.pool).min(axis=0)
        self.fixed_ms = float(sum(n * table.lookup(o) for n, o in zip(least.tolist(), counts.operators, strict=True) if n))

    @property
    def share(self) -> float:
        """The budget of the median random network, as a share of its latency."""
        return 1 - self.fixed_ms / float(np.median(self.pool_ms))

    def quantile_ms(self, share: float) -> float:
        """The latency that this share of random networks does not exceed, to four digits."""
        return float(f"{float(np.quantile(self.pool_ms, share)):.4g}")

    def median_network(self) -> ArchitectureSpec:
        """The random network whose latency is nearest to the median."""
        nearest = int(np.abs(self.pool_ms - np.median(self.pool_ms)).argmin())
        return self.space.network_of(self.pool[nearest])

    def width_ms(self, target_ms: float, tolerance: float) -> float:
        """The tolerance, a fraction of the budget that a target leaves, in ms.

        Raises:
            ExperimentError: the target leaves none.
        """
        if target_ms <= self.fixed_ms:
            raise ExperimentError(
                f"targets_ms: {target_ms:g}, but every network takes {self.fixed_ms:.4g} ms before anything is chosen",
                hint=f"Take a target between {self.pool_ms.min():.4g} and {self.pool_ms.max():.4g} ms.",
            )
        return tolerance * (target_ms - self.fixed_ms)

    def draw(
        self, range_ms: tuple[float, float], count: int, rng: np.random.Generator, *, earliest: bool = False
    ) -> tuple[ArchitectureSpec, ...]:
        """Random networks whose estimates lie in a range, all different.

        Args:
            range_ms: least and largest estimate.
            count: how many.
            rng: draws them.
            earliest: they downsample as early as those of their alternative can.

        Raises:
            ExperimentError: there are too few, or the space does not say which networks downsample earliest.
        """
        low_ms, high_ms = range_ms
        found: dict[str, ArchitectureSpec] = {}
        for _ in range(_MOST_TRIES // _BATCH):
            drawn = [self._drawn(rng, earliest=earliest) for _ in range(_BATCH)]
            for choices, ms in zip(drawn, self._latencies(drawn)[0], strict=True):
                if low_ms <= ms <= high_ms:
                    network = self.space.network_of(choices)
                    found.setdefault(network.key(), network)
                    if len(found) == count:
                        return tuple(found.values())
        raise ExperimentError(
            f"of {_MOST_TRIES} random networks {len(found)} are estimated at {low_ms:.4g} to {high_ms:.4g} ms; "
            f"{count} are needed",
            hint="Ask for fewer networks, for a larger tolerance, or for a target that more networks meet.",
        )

    def _drawn(self, rng: np.random.Generator, *, earliest: bool) -> RowChoices:
        choices = self.space.random_choices(rng)
        if not earliest:
            return choices
        paths = self.space.earliest_paths(choices.alternative)
        if paths is None:
            raise ExperimentError(
                f"search space {self.space.name!r} does not say which networks downsample earliest",
                hint="Leave method earliest out, or state earliest_paths() in the space.",
            )
        return RowChoices(choices.alpha, paths, choices.gamma, choices.alternative)


def targets(budget: LatencyBudget, stated_ms: Sequence[float], quantiles: Sequence[float]) -> tuple[float, ...]:
    """Those that are stated; where none is, quantiles of the latency of random networks, ascending, in ms."""
    return tuple(stated_ms) or tuple(sorted({budget.quantile_ms(share) for share in quantiles}))
