"""How much of a search space's latency each granularity decides (FasterSeg, Table 2)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from nas_client.latency.coefficients import Coefficients
from nas_client.latency.parameters import ArchitectureParameters, Granularity, choice_counts
from nas_client.latency.relaxed import RelaxedLatency


@dataclass(frozen=True)
class Sensitivity:
    """Δ of each granularity in ms: the relaxed latency with its slowest choice everywhere, minus that with its fastest.

    None where a space does not have the granularity, or offers one choice only.
    """

    operator_ms: float | None
    downsample_ms: float | None
    expansion_ms: float | None


def sensitivity(coefficients: Coefficients) -> Sensitivity:
    """The three gaps of a table, each with the other two granularities uniform.

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
