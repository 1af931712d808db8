"""How much of a space's latency each granularity decides, and the weights of the decoupled terms that balance this.

Source: FasterSeg, section 3.2 and Table 2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import torch
from torch import Tensor

from models.spaces import search_defaults
from nas_client.errors import ParameterError, SensitivityError
from nas_client.latency.coefficients import Coefficients
from nas_client.latency.parameters import ArchitectureParameters, Granularity, choice_counts
from nas_client.latency.relaxed import RelaxedLatency


@dataclass(frozen=True)
class Sensitivity:
    """The gap Δ of each granularity in ms: the relaxed latency with its slowest choice everywhere, minus that with its fastest.

    None where a space does not have the granularity, or offers one choice only.
    """

    operator_ms: float | None
    downsample_ms: float | None
    expansion_ms: float | None


def sensitivity(coefficients: Coefficients) -> Sensitivity:
    """Compute the three gaps of a table, each with the other two granularities uniform.

    A row's slowest choice is the one that costs most while all else is uniform, since "slowest" must not depend on what the
    other rows choose. (In FasterSeg's space it is the same everywhere: two 3×3 convolutions, late downsampling, the widest.)

    Source: FasterSeg §3.2 and Table 2 (10.42, 0.01 and 5.54 ms on a GTX 1080 Ti).
    """
    return Sensitivity(
        operator_ms=_gap_ms(coefficients, "alpha"),
        downsample_ms=_gap_ms(coefficients, "beta"),
        expansion_ms=_gap_ms(coefficients, "gamma"),
    )


def _gap_ms(coefficients: Coefficients, granularity: Granularity) -> float | None:
    counts = torch.tensor(choice_counts(coefficients.shapes[granularity]))
    if not bool((counts > 1).any()):
        return None
    relaxed = RelaxedLatency(coefficients, dtype=torch.float64)
    uniform = ArchitectureParameters.zeros(coefficients.shapes, dtype=torch.float64).requires_grad_()
    # The latency is linear in each row's probabilities, so that the gradient of a uniform row orders its choices by cost.
    (gradient,) = torch.autograd.grad(relaxed(uniform), uniform.stacked(granularity))
    unused = torch.arange(gradient.shape[1]) >= counts[:, None]

    def everywhere_ms(choices: Tensor) -> float:
        chosen = ArchitectureParameters.one_hot(coefficients.shapes, {granularity: choices}, dtype=torch.float64)
        return float(relaxed(chosen))

    slowest_ms = everywhere_ms(gradient.masked_fill(unused, -torch.inf).argmax(1))
    fastest_ms = everywhere_ms(gradient.masked_fill(unused, torch.inf).argmin(1))
    # Sums of the same entries in another order differ by rounding; a gap of that size would ask for an absurd weight.
    return 0.0 if math.isclose(slowest_ms, fastest_ms, rel_tol=1e-12) else slowest_ms - fastest_ms


class Weights(NamedTuple):
    """The weights w1, w2 and w3 of the decoupled terms (FasterSeg eq. 3).

    >>> Weights.of([0.001, 0.997, 0.002])
    Weights(operator=0.001, downsample=0.997, expansion=0.002)
    """

    operator: float
    downsample: float
    expansion: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """Weights from three numbers. Raises ParameterError unless they are three, finite and not negative."""
        if len(values) != 3 or not all(math.isfinite(value) and value >= 0 for value in values):
            raise ParameterError(
                f"weights {', '.join(map(str, values))} are not three numbers ≥ 0",
                hint="Give w1, w2, w3: of the terms of α, β and γ.",
            )
        return cls(*values)


PUBLISHED_WEIGHTS = Weights(*search_defaults.PUBLISHED_WEIGHTS)
"""FasterSeg's, for its own device (§3.2)."""


def solve_weights(sensitivity: Sensitivity) -> Weights:
    """Solve for the weights with w1·ΔO = w2·Δs = w3·Δχ and Σw = 1. A granularity that the space lacks, or whose choices take
    equally long, has weight 0: its term is constant.

    >>> weights = solve_weights(Sensitivity(operator_ms=10.0, downsample_ms=0.1, expansion_ms=5.0))
    >>> [round(weight, 4) for weight in weights]
    [0.0097, 0.9709, 0.0194]
    >>> solve_weights(Sensitivity(operator_ms=10.0, downsample_ms=None, expansion_ms=0.0))
    Weights(operator=1.0, downsample=0.0, expansion=0.0)

    Source: FasterSeg §3.2, footnote 1.

    Raises:
        SensitivityError: the choices that are slowest one by one are together faster than the fastest, so that no weight
            balances them; or there is nothing to weight.
    """
    gaps_ms = {
        "operator": sensitivity.operator_ms,
        "downsample": sensitivity.downsample_ms,
        "expansion": sensitivity.expansion_ms,
    }
    inverse = {name: _inverse(name, gap) if gap else 0.0 for name, gap in gaps_ms.items()}
    total = sum(inverse.values())
    if total == 0:
        raise SensitivityError(
            "no granularity of this search space makes a difference in this table: there is nothing to weight",
            hint="Check the table; a space without choices needs no decoupled latency.",
        )
    return Weights(**{name: value / total for name, value in inverse.items()})


def _inverse(name: str, gap_ms: float) -> float:
    if gap_ms < 0:
        raise SensitivityError(
            f"the {name} choices differ by {gap_ms} ms, slowest less fastest, so that no weight balances their term",
            hint="Check the table, or give the weights yourself.",
        )
    return 1 / gap_ms
