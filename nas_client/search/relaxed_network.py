"""One role's architecture parameters, and the mixtures of the supernet that they stand for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
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
        path_logits: what the supernet's own statistics add to the logits of β, if anything.

    Attributes:
        logits: what is trained.
        optimized: those of α, β and, where widths are searched, γ that the phase searches: leaves that take gradients.
        decided: granularities whose most probable choices are taken.
        role: as given.
        both_ends: see `Mixture`.
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
        path_logits: Callable[[], Tensor | None] | None = None,
    ) -> None:
        self.role, self.both_ends = role, False
        self.decided: frozenset[str] = frozenset()
        self._path_logits = path_logits or _nothing
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

    def start_phase(self, searched: Collection[str], decided: Collection[str]) -> None:
        """From now on these granularities are searched, and those decided."""
        self.decided = frozenset(decided)
        names = [name for name in GRANULARITIES if self.logits.shapes[name] and name in searched]
        self.optimized = tuple(self.logits.stacked(name) for name in names)

    @property
    def joined(self) -> ArchitectureParameters:
        """The logits, what the supernet's statistics say of β included: what the network is decoded from."""
        added = self._path_logits()
        return self.logits if added is None else replace(self.logits, beta=self.logits.beta + added.to(self.logits.beta))

    @property
    def settled(self) -> ArchitectureParameters:
        """As `joined`, with what is decided certain: what its latency is computed from."""
        joined = self.joined
        choices = {"alpha": self._alpha, "beta": self._beta, "gamma": self._gamma}
        certain = {name: choices[name](joined.stacked(name)).argmax(dim=-1) for name in GRANULARITIES if name in self.decided}
        if not certain:
            return joined
        one_hot = ArchitectureParameters.one_hot(joined.shapes, certain, dtype=joined.alpha.dtype, device=joined.alpha.device)
        alpha, beta, gamma = ((one_hot if name in certain else joined).stacked(name) for name in GRANULARITIES)
        return replace(joined, alpha=alpha, beta=beta, gamma=gamma)

    @property
    def searches_widths(self) -> bool:
        """Whether any of its widths is searched. Where none is, all mixtures of its present α and β are one."""
        return not self.role.widest and bool((self._width_counts > 1).any())

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
        return self._fixed(self._widths(self._gamma(self.logits.gamma)))

    @torch.no_grad()
    def sampled_widths(self, gumbel: Gumbel) -> Mixture:
        """Widths drawn with γ's probabilities."""
        return self._fixed(self._widths(self._gamma(self.logits.gamma, gumbel)))

    def for_architecture(self, gumbel: Gumbel) -> Mixture:
        """Widths drawn with γ's probabilities; gradients reach α, β and γ (straight-through)."""
        if self.role.widest or "gamma" in self.decided:
            return self._fixed(self._widths(self._gamma(self.logits.gamma)))
        gamma = self._gamma(self.logits.gamma, gumbel)
        sampled = Mixture.sampled(*self._chances(), gamma, both_ends=self.both_ends)
        return replace(sampled, operators=self._operators())

    def entropy(self) -> dict[str, float]:
        """By granularity that is searched, the mean entropy of its rows in nats."""
        with torch.no_grad():
            choices = {"alpha": self._alpha, "beta": self._beta, "gamma": self._gamma}
            joined = self.joined
            return {name: _entropy(choices[name](joined.stacked(name))) for name in GRANULARITIES if joined.shapes[name]}

    def state(self) -> dict[str, Tensor]:
        """What `restore` takes."""
        return {name: self.logits.stacked(name).detach().cpu() for name in GRANULARITIES}

    @torch.no_grad()
    def restore(self, state: Mapping[str, Any]) -> None:
        """Give the logits the values of a saved state, in place: optimisers go on with the same tensors."""
        for name in GRANULARITIES:
            self.logits.stacked(name).copy_(state[name])

    def _fixed(self, widths: np.ndarray[Any, np.dtype[np.int64]]) -> Mixture:
        return Mixture(*self._chances(), tuple(widths.tolist()), operators=self._operators())

    def _widths(self, gamma: Tensor) -> np.ndarray[Any, np.dtype[np.int64]]:
        """The most probable ones, or the widest of a network that searches none."""
        if self.role.widest:
            return self._width_counts - 1
        found: np.ndarray[Any, np.dtype[np.int64]] = gamma.detach().argmax(dim=-1).cpu().numpy()
        return found

    def _chances(self) -> tuple[Tensor, Tensor]:
        """Probabilities of α and β, one-hot where they are decided. Shape of each: (rows, choices)."""
        joined = self.joined
        return self._chance("alpha", self._alpha(joined.alpha)), self._chance("beta", self._beta(joined.beta))

    def _chance(self, name: str, probabilities: Tensor) -> Tensor:
        if name not in self.decided:
            return probabilities
        return torch.nn.functional.one_hot(probabilities.argmax(dim=-1), probabilities.shape[-1]).to(probabilities)

    def _operators(self) -> tuple[int, ...] | None:
        if "alpha" not in self.decided:
            return None
        return tuple(self._alpha(self.logits.alpha.detach()).argmax(dim=-1).tolist())


def _nothing() -> None:
    return None


def _entropy(probabilities: Tensor) -> float:
    """Shape: (rows, choices)."""
    return float(torch.special.entr(probabilities).sum(dim=-1).mean())
