"""The decoupled latency: three terms, each with one granularity free and the others fixed (FasterSeg eq. 3)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nas_client.latency.base import LatencyModule
from nas_client.latency.coefficients import Coefficients
from nas_client.latency.parameters import ArchitectureParameters
from nas_client.latency.relaxation import Relaxation, expected
from nas_client.latency.weights import PUBLISHED_WEIGHTS, Weights


@dataclass(frozen=True, eq=False)
class Terms:
    """The decoupled latency of one set of architecture parameters; scalars, in ms.

    Attributes:
        operator_ms: α free.
        downsample_ms: β free.
        expansion_ms: γ free.
        weighted_ms: the three, weighted and summed: what a search minimises.
    """

    operator_ms: Tensor
    downsample_ms: Tensor
    expansion_ms: Tensor
    weighted_ms: Tensor


class DecoupledLatency(LatencyModule):
    """w1 · Latency(O) + w2 · Latency(s) + w3 · Latency(χ), where a granularity that is not free is fixed: operators and
    downsampling uniform, widths at the maximum.

    With the others fixed, the operator term is linear in the probabilities of α, and the expansion term a quadratic form in
    those of γ; both are computed once, here. What remains of the downsampling term is the reach of edges of known cost. A term
    whose granularity the space lacks is a constant.

    Args:
        coefficients: see `gather`.
        weights: of the three terms.
        widths: how γ becomes weights: `expected`, or a `Gumbel` sample.
        dtype: of the computation and the parameters, float32 or float64; torch's default where not given.

    Source: FasterSeg eq. 3; what the others are fixed at, as in its published code (DESIGN.md §5).
    """

    operator_ms: Tensor
    edge_ms: Tensor
    width_ms: Tensor
    weights: Tensor

    def __init__(
        self,
        coefficients: Coefficients,
        *,
        weights: Weights = PUBLISHED_WEIGHTS,
        widths: Relaxation = expected,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(coefficients, widths)
        c = coefficients
        uniform, widest = self.alpha.uniform()[c.operator_row], self.gamma.last()
        reach = self.reach(self.beta.uniform())
        by_operator = torch.einsum("ekab,ea,eb->ek", c.cost_ms, widest[c.source_row], widest[c.destination_row])
        by_widths = torch.einsum("ekab,ek,e->eab", c.cost_ms, uniform, reach)
        self.keep("operator_ms", self._linear_form(c, reach[:, None] * by_operator))
        self.keep("edge_ms", (uniform * by_operator).sum(1))
        self.keep("width_ms", self._quadratic_form(c, by_widths))
        self.keep("weights", torch.tensor(weights, dtype=torch.float64))
        self.to(dtype or torch.get_default_dtype())

    def forward(self, parameters: ArchitectureParameters) -> Terms:
        """The three terms and their weighted sum.

        Raises:
            ParameterError: the parameters are of another search space, or of another dtype than this module.
        """
        with self.full_precision():
            alpha, beta, gamma = self.probabilities(parameters)
            operator_ms = torch.dot(self.operator_ms, alpha.view(-1))
            downsample_ms = torch.dot(self.edge_ms, self.reach(beta)) + self.fixed_ms
            widths = gamma.view(-1)
            expansion_ms = torch.dot(widths, torch.mv(self.width_ms, widths))
            weighted_ms = torch.dot(self.weights, torch.stack((operator_ms, downsample_ms, expansion_ms)))
            return Terms(operator_ms, downsample_ms, expansion_ms, weighted_ms)

    def _linear_form(self, c: Coefficients, by_operator: Tensor) -> Tensor:
        """What each operator of each row of α adds; the fixed part stands in the certain row.

        Shape: by_operator (edges, operators), result ((rows + 1) · operators,).
        """
        form = by_operator.new_zeros(self.alpha.rows + 1, self.alpha.most)
        form.index_add_(0, c.operator_row, by_operator)
        form[-1, 0] = c.fixed_ms
        return form.view(-1)

    def _quadratic_form(self, c: Coefficients, by_widths: Tensor) -> Tensor:
        """What each pair of widths adds; the fixed part stands at the certain row's pair with itself.

        Shape: by_widths (edges, widths, widths), result ((rows + 1) · widths, (rows + 1) · widths).
        """
        rows, most = self.gamma.rows + 1, self.gamma.most
        form = by_widths.new_zeros(rows, rows, most, most)
        form.index_put_((c.source_row, c.destination_row), by_widths, accumulate=True)
        form[-1, -1, 0, 0] += c.fixed_ms
        return form.transpose(1, 2).reshape(rows * most, rows * most)
