"""The weights of the decoupled terms: the published ones, and those that balance the sensitivities of a table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, Self

from nas_client.errors import ParameterError, SensitivityError
from nas_client.latency.sensitivity import Sensitivity


class Weights(NamedTuple):
    """w1, w2 and w3 of FasterSeg eq. 3.

    >>> Weights.of([0.001, 0.997, 0.002])
    Weights(operator=0.001, downsample=0.997, expansion=0.002)
    """

    operator: float
    downsample: float
    expansion: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """Those numbers, in that order. Raises ParameterError unless they are three, finite and not negative."""
        if len(values) != 3 or not all(math.isfinite(value) and value >= 0 for value in values):
            raise ParameterError(
                f"weights {', '.join(map(str, values))} are not three numbers ≥ 0",
                hint="Give w1, w2, w3: of operators, downsampling and expansion.",
            )
        return cls(*values)


PUBLISHED_WEIGHTS = Weights(0.001, 0.997, 0.002)
"""FasterSeg's, for its own device (§3.2)."""


def solve_weights(sensitivity: Sensitivity) -> Weights:
    """The weights with w1·ΔO = w2·Δs = w3·Δχ and Σw = 1; zero for a granularity that the space lacks.

    >>> weights = solve_weights(Sensitivity(operator_ms=10.0, downsample_ms=0.1, expansion_ms=5.0))
    >>> [round(weight, 4) for weight in weights]
    [0.0097, 0.9709, 0.0194]

    Source: FasterSeg §3.2, footnote 1.

    Raises:
        SensitivityError: a granularity makes no difference at all, so that no weight balances it, or the space has none.
    """
    gaps_ms = {
        "operator": sensitivity.operator_ms,
        "downsample": sensitivity.downsample_ms,
        "expansion": sensitivity.expansion_ms,
    }
    inverse = {name: 0.0 if gap is None else _inverse(name, gap) for name, gap in gaps_ms.items()}
    total = sum(inverse.values())
    if total == 0:
        raise SensitivityError("this search space has no granularity to weight", hint="It needs no decoupled latency.")
    return Weights(**{name: value / total for name, value in inverse.items()})


def _inverse(name: str, gap_ms: float) -> float:
    if gap_ms <= 0:
        raise SensitivityError(
            f"the {name} choices differ by {gap_ms} ms in this table, so that no weight balances their term",
            hint="Check the table, or give the weights yourself.",
        )
    return 1 / gap_ms
