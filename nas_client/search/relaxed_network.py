"""One role's architecture parameters, and the mixtures of the supernet that they stand for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models.spaces.base import InitialLogits, ParameterShapes, Role
from models.supernets.base import Mixture
from nas_client.latency.parameters import GRANULARITIES, ArchitectureParameters, choice_counts
from nas_client.latency.relaxation import Choices, Gumbel


class RelaxedNetwork:
    """A network whose operators, downsampling and widths are still probabilities.

    Args:
        shapes: of the space's parameters.
        start: the space's first logits, before any noise.
        role: whose network it is; where widths are not searched for it, it takes the widest connections and has no γ.
        deviation: of the normal noise that is added to the first logits.
        seed: of the noise.
        device: of the logits.

    Attributes:
        logits: what is trained.
        optimized: α, β and, where widths are searched, γ: leaves that take gradients.
        role: as given.
    """

    def __init__(
        self,
        shapes: ParameterShapes,
        start: InitialLogits,
        *,
        role: Role,
        deviation: float,
        seed: int,
        device: torch.device | str,
    ) -> None:
        self.role = role
        searched = {**shapes, "gamma": {}} if role.widest else shapes
        self.logits = ArchitectureParameters.starting(searched, start, dtype=torch.float32, device=device)
        generator = torch.Generator().manual_seed(seed)
        self.optimized = tuple(self.logits.tensors())
        for tensor in self.optimized:
            tensor.add_((deviation * torch.randn(tensor.shape, generator=generator)).to(tensor))
        self.logits.requires_grad_()
        self._alpha = Choices(shapes["alpha"]).to(device)
        self._beta = Choices(shapes["beta"]).to(device)
        self._gamma = Choices(shapes["gamma"]).to(device)
        self._width_counts = np.asarray(choice_counts(shapes["gamma"]), dtype=np.int64)

    @property
    def searches_widths(self) -> bool:
        """Whether its widths are searched. Where they are not, all mixtures of its present α and β are one."""
        return not self.role.widest and bool(self._width_counts.size)

    @torch.no_grad()
    def narrowest_connections(self) -> Mixture:
        """The narrowest connections everywhere; takes no gradients, as all mixtures but those of `for_architecture`."""
        return self._fixed(np.zeros_like(self._width_counts))

    @torch.no_grad()
    def widest_connections(self) -> Mixture:
        """The widest connections everywhere."""
        return self._fixed(self._width_counts - 1)

    @torch.no_grad()
    def random_widths(self, rng: np.random.Generator) -> Mixture:
        """Widths drawn uniformly."""
        return self._fixed(rng.integers(self._width_counts))

    @torch.no_grad()
    def most_probable_widths(self) -> Mixture:
        """The most probable widths."""
        return self.widest_connections() if self.role.widest else self._with_sample(self._gamma(self.logits.gamma))

    @torch.no_grad()
    def sampled_widths(self, gumbel: Gumbel) -> Mixture:
        """Widths drawn with γ's probabilities."""
        return self.widest_connections() if self.role.widest else self._with_sample(self._gamma(self.logits.gamma, gumbel))

    def for_architecture(self, gumbel: Gumbel) -> Mixture:
        """Widths drawn with γ's probabilities; gradients reach α, β and γ (straight-through)."""
        if self.role.widest:
            return self._fixed(self._width_counts - 1)
        gamma = self._gamma(self.logits.gamma, gumbel)
        return Mixture.sampled(self._alpha(self.logits.alpha), self._beta(self.logits.beta), gamma)

    def entropy(self) -> dict[str, float]:
        """By granularity that is searched, the mean entropy of its rows in nats."""
        with torch.no_grad():
            choices = {"alpha": self._alpha, "beta": self._beta, "gamma": self._gamma}
            return {
                name: _entropy(choices[name](self.logits.stacked(name))) for name in GRANULARITIES if self.logits.shapes[name]
            }

    def state(self) -> dict[str, Tensor]:
        """What `restore` takes."""
        return {name: self.logits.stacked(name).detach().cpu() for name in GRANULARITIES}

    @torch.no_grad()
    def restore(self, state: Mapping[str, Any]) -> None:
        """Give the logits the values of a saved state, in place: optimisers go on with the same tensors."""
        for name in GRANULARITIES:
            self.logits.stacked(name).copy_(state[name])

    def _fixed(self, widths: np.ndarray[Any, np.dtype[np.int64]]) -> Mixture:
        return Mixture(self._alpha(self.logits.alpha), self._beta(self.logits.beta), tuple(widths.tolist()))

    def _with_sample(self, gamma: Tensor) -> Mixture:
        return self._fixed(gamma.argmax(dim=-1).cpu().numpy())


def _entropy(probabilities: Tensor) -> float:
    """Shape: (rows, choices)."""
    return float(torch.special.entr(probabilities).sum(dim=-1).mean())
