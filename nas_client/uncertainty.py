"""How certain a sum of table entries is, without any fit (docs/measurement.md, "How certain a sum is"). Pure.

The error of an entry is modelled as stderr·(√own·z_key + √ρ_base·z_base + √ρ_visits·z), where each z is a standard normal value
of its own: one per operator, one per base graph, one for all. An operator that occurs k times has one error k times over.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from pydantic import Field
from scipy.special import stdtrit

from models.spec.base import Record
from models.spec.graphs import ContextBase
from models.spec.measurements import ProtocolName
from models.spec.operators import OperatorSpec
from models.spec.verdicts import processes_sd
from nas_client.errors import CalibrationError
from nas_client.table import LookupTable

BASE_SHARE = 0.5
"""Share of an entry's error variance that comes from its base graph. Both graphs are timed alike and the base is the shorter
one, so that it is hardly more than half."""

VISITS_SHARE = 0.1
"""Share that is common to all entries, through visits: one sentinel's median divides the times of a whole group. Groups are
redrawn every round, so that two of several hundred entries are rarely in the same one."""

NORMAL_95 = 1.959963984540054
"""Half the width of a 95 % interval, in standard errors."""

MIN_NETWORKS = 4
"""Fewer validated networks than this give no estimate of a bias."""


@dataclass(frozen=True)
class Addend:
    """One operator of a sum.

    Attributes:
        count: how often it occurs.
        ms, stderr_ms: of its entry, once.
        base: names what was subtracted for its context; addends of one name share its error. Empty where nothing was.
    """

    count: int
    ms: float
    stderr_ms: float
    base: str = ""


class SumBias(Record):
    """How sums of a table's entries missed measured networks, in relation to the sum: measured / sum − 1.

    Attributes:
        networks: how many were measured.
        bias: mean, as a fraction; positive where networks take longer than their sums.
        residual_sd: standard deviation about that mean, as a fraction.
    """

    networks: int = Field(ge=MIN_NETWORKS)
    bias: float = Field(gt=-1)
    residual_sd: float = Field(ge=0)

    @classmethod
    def of(cls, sum_ms: ArrayLike, measured_ms: ArrayLike) -> SumBias:
        """From sums and measurements of the same networks. Shape of both: (networks,).

        Raises:
            CalibrationError: fewer than `MIN_NETWORKS`.
        """
        error = np.asarray(measured_ms, dtype=np.float64) / np.asarray(sum_ms, dtype=np.float64) - 1
        if error.size < MIN_NETWORKS:
            raise CalibrationError(f"{error.size} networks are too few to estimate the bias of sums; {MIN_NETWORKS} are needed")
        return cls(networks=error.size, bias=float(error.mean()), residual_sd=float(error.std(ddof=1)))


@dataclass(frozen=True)
class SumUncertainty:
    """How certain a sum is.

    Attributes:
        stderr_ms: standard error of the sum: entries, base graphs, visits, builds and scale.
        interval_ms: 95 % interval, see `kind`.
        kind: `statistical`: of the sum alone; how far sums are from networks is not in it. `validated`: of a network's
            latency, shifted and widened by how sums missed the networks of a validation.
    """

    stderr_ms: float
    interval_ms: tuple[float, float]
    kind: Literal["statistical", "validated"]


def sum_stderr_ms(
    addends: Sequence[Addend],
    *,
    scale: float = 0.0,
    builds: float = 0.0,
    base_share: float = BASE_SHARE,
    visits_share: float = VISITS_SHARE,
) -> float:
    """Standard error of Σ count·ms.

    Args:
        addends: one for each different operator.
        scale: standard error of the scale, as a fraction; it is the same for all.
        builds: standard deviation between processes and their builds, as a fraction; independent from operator to operator.
        base_share: share of an entry's error variance that it has in common with those of the same base.
        visits_share: share that it has in common with all.
    """
    by_base: defaultdict[str, float] = defaultdict(float)
    own = every = of_builds = total = 0.0
    for addend in addends:
        error = addend.count * addend.stderr_ms
        shared = base_share if addend.base else 0.0
        own += (1 - shared - visits_share) * error**2
        every += error
        of_builds += (builds * addend.count * addend.ms) ** 2
        total += addend.count * addend.ms
        if addend.base:
            by_base[addend.base] += error
    of_bases = base_share * sum(error**2 for error in by_base.values())
    return math.sqrt(own + of_bases + visits_share * every**2 + of_builds + (scale * total) ** 2)


def sum_uncertainty(
    operators: Sequence[OperatorSpec], table: LookupTable, bias: SumBias | None = None
) -> SumUncertainty | None:
    """How certain the sum of those operators' entries is; None where one has no value, or does not say how certain it is.

    Args:
        operators: of a network, repeats included.
        table: has their entries.
        bias: how the table's sums missed measured networks; None where that is not known.
    """
    in_context = table.info.protocol is ProtocolName.IN_CONTEXT
    counts = Counter(operator.key() for operator in operators)
    by_key = {operator.key(): operator for operator in operators}
    addends = []
    for key, count in counts.items():
        entry = table.entry(key)
        if entry is None or entry.value_ms is None or entry.stderr_ms is None:
            return None
        base = ContextBase.of(by_key[key]).key() if in_context else ""
        addends.append(Addend(count, entry.value_ms, entry.stderr_ms, base))
    scale = 0.0 if table.info.scale is None else table.info.scale.relative_stderr
    stderr_ms = sum_stderr_ms(addends, scale=scale, builds=processes_sd(table.info))
    sum_ms = sum(addend.count * addend.ms for addend in addends)
    if bias is None:
        half = NORMAL_95 * stderr_ms
        return SumUncertainty(stderr_ms, (max(sum_ms - half, 0.0), sum_ms + half), "statistical")
    return SumUncertainty(stderr_ms, validated_interval_ms(sum_ms, bias, scale=scale), "validated")


def validated_interval_ms(sum_ms: float, bias: SumBias, *, scale: float = 0.0) -> tuple[float, float]:
    """95 % prediction interval of a network's latency: sum·(1 + bias ± √(t²·sd²·(1 + 1/n) + (1.96·scale·(1 + bias))²)).

    What is uncertain of the entries is in the validated networks' errors, and does not count twice. The scale is the same for
    sums and measured networks, so that their errors do not show it: it counts beside them.

    Args:
        sum_ms: of the network's entries.
        bias: of the table's sums; the network is taken to be one more like those that it was measured on.
        scale: standard error of the scale, as a fraction.
    """
    quantile = float(stdtrit(bias.networks - 1, 0.975))
    residual = quantile * bias.residual_sd * math.sqrt(1 + 1 / bias.networks)
    half = math.hypot(residual, NORMAL_95 * scale * (1 + bias.bias))
    return sum_ms * max(1 + bias.bias - half, 0.0), sum_ms * (1 + bias.bias + half)
