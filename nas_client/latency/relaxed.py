"""The relaxed latency: α, β and γ all free."""

from __future__ import annotations

import torch
from torch import Tensor

from nas_client.latency.base import LatencyModule
from nas_client.latency.coefficients import Coefficients
from nas_client.latency.parameters import ArchitectureParameters
from nas_client.latency.relaxation import Relaxation, expected


class RelaxedLatency(LatencyModule):
    """The expected latency of an architecture drawn from α, β, γ: Σ_edges reach(e; β) · cost(e; α, γ) + fixed.

    Args:
        coefficients: of a table; see `coefficients_of`.
        widths: how γ becomes weights: `expected`, or a `Gumbel` sample.
        dtype: of the computation and the parameters, float32 or float64; torch's default where not given.

    Source: docs/latency.md, after FasterSeg §3.2.
    """

    cost_ms: Tensor
    fixed_ms: Tensor
    operator_row: Tensor
    source_row: Tensor
    destination_row: Tensor

    def __init__(self, coefficients: Coefficients, *, widths: Relaxation = expected, dtype: torch.dtype | None = None) -> None:
        super().__init__(coefficients, widths)
        self.fixed_operators = coefficients.fixed_operators
        self.keep("cost_ms", coefficients.cost_ms.flatten(2))
        self.keep("fixed_ms", torch.tensor(coefficients.fixed_ms, dtype=torch.float64))
        self.keep("operator_row", coefficients.operator_row)
        self.keep("source_row", coefficients.source_row)
        self.keep("destination_row", coefficients.destination_row)
        self.to(dtype or torch.get_default_dtype())

    def forward(self, parameters: ArchitectureParameters) -> Tensor:
        """Compute the latency in ms, a scalar.

        Raises:
            ParameterError: the parameters are of another search space, or of another dtype than this module.
        """
        with self.full_precision():
            alpha, beta, gamma = self.probabilities(parameters)
            operators = self.alpha.with_fixed(alpha) if self.fixed_operators else alpha
            widths = self.gamma.with_fixed(gamma)
            sources, destinations = widths.index_select(0, self.source_row), widths.index_select(0, self.destination_row)
            width_pairs = (sources[:, :, None] * destinations[:, None, :]).flatten(1)
            by_operator = torch.bmm(self.cost_ms, width_pairs[:, :, None]).squeeze(2)
            cost = (operators.index_select(0, self.operator_row) * by_operator).sum(1)
            return torch.dot(self.reach(beta.view(-1)), cost) + self.fixed_ms
