"""What the relaxed and the decoupled latency have in common."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from nas_client.errors import ParameterError
from nas_client.latency.choices import Choices
from nas_client.latency.coefficients import Coefficients
from nas_client.latency.parameters import GRANULARITIES, ArchitectureParameters
from nas_client.latency.reach import Reach
from nas_client.latency.relaxation import Relaxation


class LatencyModule(nn.Module):
    """A latency as a function of architecture parameters, computed in their dtype whatever autocast says.

    Buffers are made in float64, and rounded once by `.to()`, which also moves them to another device. They come from the table,
    not from training, and are no part of a state dict.

    Args:
        coefficients: see `gather`.
        widths: how γ becomes weights: `expected`, or a `Gumbel` sample.
    """

    def __init__(self, coefficients: Coefficients, widths: Relaxation) -> None:
        super().__init__()
        self.shapes = coefficients.shapes
        self.widths = widths
        self.alpha = Choices(self.shapes["alpha"])
        self.beta = Choices(self.shapes["beta"])
        self.gamma = Choices(self.shapes["gamma"])
        self.reach = Reach(coefficients)

    def keep(self, name: str, tensor: Tensor) -> None:
        """Make the tensor a buffer of that name."""
        self.register_buffer(name, tensor, persistent=False)

    def probabilities(self, parameters: ArchitectureParameters) -> tuple[Tensor, Tensor, Tensor]:
        """Those of α, β and γ, in which what a row does not offer has none. Shapes: (rows, choices).

        Raises:
            ParameterError: the parameters are of another search space, or of another dtype than this module.
        """
        if parameters.shapes != self.shapes:
            name = next(name for name in GRANULARITIES if parameters.shapes[name] != self.shapes[name])
            raise ParameterError(f"{name} has groups {parameters.shapes[name]}; this search space's are {self.shapes[name]}")
        if parameters.alpha.dtype != self.dtype:
            raise ParameterError(f"the parameters are {parameters.alpha.dtype}, this latency is {self.dtype}")
        return self.alpha(parameters.alpha), self.beta(parameters.beta), self.gamma(parameters.gamma, self.widths)

    @property
    def dtype(self) -> torch.dtype:
        """Of the computation and the parameters."""
        return self.reach.outputs.dtype

    def full_precision(self) -> AbstractContextManager[None]:
        """A context in which autocast leaves the computation alone."""
        device = self.reach.outputs.device.type
        # Entering autocast costs a tenth of a training step, so it is left out where there is nothing to switch off.
        return torch.autocast(device, enabled=False) if torch.is_autocast_enabled(device) else nullcontext()
