"""The decoupled latency: three terms, each with one granularity free and the others fixed (FasterSeg eq. 3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor

from nas_client.latency.base import LatencyModule
from nas_client.latency.coefficients import Coefficients, coefficients_of
from nas_client.latency.parameters import ArchitectureParameters
from nas_client.latency.relaxation import Relaxation, expected
from nas_client.latency.sensitivity import PUBLISHED_WEIGHTS, Weights, sensitivity, solve_weights

if TYPE_CHECKING:
    from nas_client.table import LookupTable


@dataclass(frozen=True, eq=False)
class Terms:
    """The decoupled latency of one set of architecture parameters; scalars, in ms.

    Attributes:
        operator_ms: α free, not weighted.
        downsample_ms: β free, not weighted.
        expansion_ms: γ free, not weighted.
        weighted_ms: the three, weighted and summed: what a search minimises.
    """

    operator_ms: Tensor
    downsample_ms: Tensor
    expansion_ms: Tensor
    weighted_ms: Tensor


class DecoupledLatency(LatencyModule):
    """The decoupled latency w1 · Latency(O) + w2 · Latency(s) + w3 · Latency(χ). Each term has one granularity free; the others
    are fixed, operators and downsampling uniform, widths at the maximum.

    With the others fixed, the operator term is linear in the probabilities of α, and the expansion term quadratic in those of
    γ; both forms are computed once, here. So is what the edges into a node cost, which the downsampling term weights with the
    node's reach. A term whose granularity the space lacks is constant.

    Args:
        coefficients: of a table; see `coefficients_of`.
        weights: of the three terms.
        widths: how γ becomes weights: `expected`, or a `Gumbel` sample.
        dtype: of the computation and the parameters, float32 or float64; torch's default where not given.

    Attributes:
        weights: w1, w2, w3. Shape: (3,).
        shapes: of the architecture parameters' groups, for `ArchitectureParameters`.

    Source: FasterSeg eq. 3; what the others are fixed at, as in its published code (docs/latency.md).
    """

    weights: Tensor
    constant_ms: Tensor
    operator_ms: Tensor
    unselected_ms: Tensor
    selected_ms: Tensor
    width_ms: Tensor
    width_pair_ms: Tensor

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
        operators = self.alpha.with_fixed(self.alpha.uniform())[c.operator_row]
        widest = self.gamma.with_fixed(self.gamma.last())
        reach = self.reach(self.beta.uniform().view(-1))
        by_operator = torch.einsum("ekab,ea,eb->ek", c.cost_ms, widest[c.source_row], widest[c.destination_row])
        by_widths = torch.einsum("ekab,ek->eab", c.cost_ms, operators)
        fixed_operators_ms = self._keep_operator_form(c, reach[:, None] * by_operator)
        self._keep_entering_costs(c, (operators * by_operator).sum(1))
        fixed_widths_ms = self._keep_width_form(c, reach[:, None, None] * by_widths)
        self.keep("constant_ms", c.fixed_ms + torch.tensor([fixed_operators_ms, 0, fixed_widths_ms], dtype=torch.float64))
        self.keep("weights", torch.tensor(weights, dtype=torch.float64))
        self.to(dtype or torch.get_default_dtype())

    @classmethod
    def for_table(
        cls,
        table: LookupTable,
        *,
        weights: Weights | None = None,
        widths: Relaxation = expected,
        dtype: torch.dtype | None = None,
    ) -> Self:
        """The decoupled latency of a table's search space.

        Args:
            table: has a value for every operator of its space.
            weights: of the three terms; those that `solve_weights` finds for this table where none are given.
            widths: how γ becomes weights: `expected`, or a `Gumbel` sample.
            dtype: of the computation and the parameters; torch's default where not given.

        Raises:
            MissingEntryError: the table lacks an operator.
            SensitivityError: no weights are given, and no granularity makes a difference in this table.
        """
        coefficients = coefficients_of(table)
        solved = solve_weights(sensitivity(coefficients)) if weights is None else weights
        return cls(coefficients, weights=solved, widths=widths, dtype=dtype)

    def forward(self, parameters: ArchitectureParameters) -> Terms:
        """Compute the three terms and their weighted sum.

        Raises:
            ParameterError: the parameters are of another search space, or of another dtype than this module.
        """
        with self.full_precision():
            alpha, beta, gamma = (probabilities.view(-1) for probabilities in self.probabilities(parameters))
            operator_ms = torch.dot(self.operator_ms, alpha)
            entering_ms = torch.addmv(self.unselected_ms, self.selected_ms, beta)
            downsample_ms = torch.dot(self.reach.of_nodes(beta), entering_ms)
            expansion_ms = torch.dot(gamma, torch.addmv(self.width_ms, self.width_pair_ms, gamma))
            # Constants and weights are applied to all three at once: a step's time is its number of operations.
            terms_ms = self.constant_ms + torch.stack((operator_ms, downsample_ms, expansion_ms))
            weighted_ms = torch.dot(self.weights, terms_ms)
            operator_ms, downsample_ms, expansion_ms = terms_ms.unbind()
            return Terms(operator_ms, downsample_ms, expansion_ms, weighted_ms)

    def _keep_operator_form(self, c: Coefficients, by_operator: Tensor) -> float:
        """What each operator of each row of α adds; returns what fixed operators add. Shape: by_operator (edges, operators)."""
        rows, most = self.alpha.rows, self.alpha.most
        form = by_operator.new_zeros(rows + 1, by_operator.shape[1]).index_add(0, c.operator_row, by_operator)
        self.keep("operator_ms", form[:rows, :most].reshape(-1))
        # As in `Choices.with_fixed`.
        return float(form[rows, 0])

    def _keep_entering_costs(self, c: Coefficients, edge_ms: Tensor) -> None:
        """What the edges into a node cost: those always used, and each that β selects. Shape: edge_ms (edges,)."""
        unselected = self.reach.unselected * edge_ms
        self.keep("unselected_ms", edge_ms.new_zeros(c.nodes).index_add(0, c.destination, unselected))
        selected = edge_ms.new_zeros(c.nodes, self.beta.rows * self.beta.most)
        selected.index_put_((c.destination[c.selected], c.selection), edge_ms[c.selected], accumulate=True)
        self.keep("selected_ms", selected)

    def _keep_width_form(self, c: Coefficients, by_widths: Tensor) -> float:
        """What each pair of searched widths adds, and each width beside a fixed one; returns what fixed ones add.

        Shape: by_widths (edges, widths, widths).
        """
        rows, most = self.gamma.rows, self.gamma.most
        form = by_widths.new_zeros(rows + 1, rows + 1, most, most)
        form.index_put_((c.source_row, c.destination_row), by_widths, accumulate=True)
        square = form.transpose(1, 2).reshape((rows + 1) * most, -1)
        # The first index after the searched rows is the one choice of a fixed width; see `Choices.with_fixed`.
        fixed = rows * most
        self.keep("width_pair_ms", square[:fixed, :fixed].contiguous())
        self.keep("width_ms", square[:fixed, fixed] + square[fixed, :fixed])
        return float(square[fixed, fixed])
