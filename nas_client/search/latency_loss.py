"""The student's latency loss, of the configured mode, and the latencies that are reported whatever the mode."""

from __future__ import annotations

import torch
from torch import Tensor

from nas_client.latency.coefficients import Coefficients
from nas_client.latency.decoupled import DecoupledLatency
from nas_client.latency.parameters import ArchitectureParameters
from nas_client.latency.relaxation import Gumbel, Relaxation, expected
from nas_client.latency.relaxed import RelaxedLatency
from nas_client.latency.sensitivity import Weights, sensitivity, solve_weights
from nas_client.search.config import LatencySettings
from nas_client.search.epochs import Latencies


class LatencyLoss:
    """Milliseconds as a function of the student's parameters.

    Args:
        coefficients: of the table.
        settings: mode, weights, and how widths are relaxed.
        temperature: of sampled widths, at first.
        device: of the parameters.

    Attributes:
        weights: w1, w2, w3; where they are `solved`, of this table.

    Raises:
        SensitivityError: weights are to be solved, and cannot be.
    """

    def __init__(
        self, coefficients: Coefficients, settings: LatencySettings, *, temperature: float, device: torch.device | str
    ) -> None:
        if settings.weights == "solved":
            self.weights = solve_weights(sensitivity(coefficients))
        else:
            self.weights = Weights.of(settings.weights)
        self._generator = torch.Generator(device)
        self.sample_at(temperature)
        widths: Relaxation = expected if settings.widths == "expected" else self._sampled
        self._mode = settings.mode
        self._decoupled, self._relaxed = self._modules(coefficients, widths, device)
        self._expected = self._modules(coefficients, expected, device)

    def _modules(
        self, coefficients: Coefficients, widths: Relaxation, device: torch.device | str
    ) -> tuple[DecoupledLatency, RelaxedLatency]:
        decoupled = DecoupledLatency(coefficients, weights=self.weights, widths=widths, dtype=torch.float32)
        return decoupled.to(device), RelaxedLatency(coefficients, widths=widths, dtype=torch.float32).to(device)

    def sample_at(self, temperature: float) -> None:
        """From now on that is the temperature of sampled widths."""
        self._gumbel = Gumbel(temperature, self._generator)

    def _sampled(self, logits: Tensor) -> Tensor:
        return self._gumbel(logits)

    @property
    def used(self) -> bool:
        """Whether latency is part of the loss at all."""
        return self._mode != "none"

    def __call__(self, parameters: ArchitectureParameters, seed: int) -> Tensor:
        """The loss in ms, a scalar; `seed` draws the widths where they are sampled."""
        self._generator.manual_seed(seed)
        loss: Tensor = self._decoupled(parameters).weighted_ms if self._mode == "decoupled" else self._relaxed(parameters)
        return loss

    @torch.no_grad()
    def report(self, parameters: ArchitectureParameters) -> Latencies:
        """All latencies in expectation."""
        decoupled, relaxed = self._expected
        terms = decoupled(parameters)
        return Latencies(
            operator_ms=float(terms.operator_ms),
            downsample_ms=float(terms.downsample_ms),
            expansion_ms=float(terms.expansion_ms),
            weighted_ms=float(terms.weighted_ms),
            relaxed_ms=float(relaxed(parameters)),
        )
