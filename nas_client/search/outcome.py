"""What a search found: the networks that its parameters decode to, and which of them are chosen."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
from pydantic import BeforeValidator

from models.spaces.base import DecodeOptions, Probabilities, SearchSpace
from models.spec.architectures import ArchitectureSpec
from models.spec.base import Record
from nas_client.latency.parameters import ArchitectureParameters, Granularity
from nas_client.runs.manifest import RESULT
from nas_client.search.config import SearchConfig
from nas_client.search.derivation import Derived, derive, probabilities
from nas_client.search.epochs import Decoded, OfAlternative, label_of_ends
from nas_client.search.objective import objective
from nas_client.search.relaxed_network import RelaxedNetwork
from nas_client.table import LookupTable


class Candidate(OfAlternative):
    """One network that the search may end in.

    Attributes:
        accuracy: mIoU of the supernet as this role and alternative; None where it was never evaluated.
        objective: ACC·(LAT/T)^w.
        macs, parameters: multiply-adds and weights of the network.
    """

    estimate_ms: float
    macs: int
    parameters: int
    accuracy: float | None
    objective: float | None
    architecture: ArchitectureSpec


class SearchResult(Record):
    """How a search ended.

    Attributes:
        finished: False where it was stopped, and goes on with `--resume`.
        epochs: done, of all phases.
        table: id of the table.
        pretrained: digest of another search's pre-trained weights that it started from; None where it pre-trained itself.
        weights: w1, w2, w3 of the decoupled latency.
        latency_share: of the time of search steps, that of the latency loss: the mean over all; None without one.
        candidates: by role.
        chosen: by role, the alternative that is taken.
    """

    finished: bool
    epochs: int
    table: str
    pretrained: str | None = None
    weights: tuple[float, float, float]
    latency_share: float | None
    candidates: Mapping[str, tuple[Candidate, ...]]
    chosen: Mapping[str, Annotated[str, BeforeValidator(label_of_ends)]]

    def architecture(self, role: str) -> ArchitectureSpec:
        """The chosen network of that role."""
        return next(c.architecture for c in self.candidates[role] if c.alternative == self.chosen[role])


@dataclass(frozen=True)
class Decoder:
    """Decodes a role's parameters.

    Attributes:
        space: of the table.
        table: complete.
        options: of the space's decoding.
    """

    space: SearchSpace
    table: LookupTable
    options: DecodeOptions

    def decoded(self, network: RelaxedNetwork) -> tuple[Decoded, ...]:
        """The networks that a role's parameters stand for now, one for each of the space's alternatives."""
        return tuple(self._decoded(network, alternative) for alternative in self.space.alternatives())

    def candidates(
        self, network: RelaxedNetwork, accuracies: Mapping[str, float | None], config: SearchConfig
    ) -> tuple[Candidate, ...]:
        """A role's networks with what decides between them."""
        found = []
        for alternative in self.space.alternatives():
            derived = self._derived(network, alternative)
            accuracy = accuracies.get(alternative)
            value = None
            if accuracy is not None:
                value = objective(accuracy, derived.estimate.sum_ms, target_ms=config.target_ms, exponent=config.exponent)
            found.append(
                Candidate(
                    alternative=alternative,
                    estimate_ms=derived.estimate.sum_ms,
                    macs=derived.costs.macs,
                    parameters=derived.costs.parameters,
                    accuracy=accuracy,
                    objective=value,
                    architecture=derived.architecture,
                )
            )
        return tuple(found)

    def _derived(self, network: RelaxedNetwork, alternative: str) -> Derived:
        return derive(network.joined, self.table, alternative=alternative, role=network.role, options=self.options)

    def _decoded(self, network: RelaxedNetwork, alternative: str) -> Decoded:
        derived = self._derived(network, alternative)
        exact = self._exactly(network, alternative, probabilities(network.joined))
        kinds = self.space.choices_of(exact).operators
        return Decoded(
            alternative=alternative,
            estimate_ms=derived.estimate.sum_ms,
            skip_share=sum(kind in self.space.idle_operators for kind in kinds) / len(kinds),
            narrowest_share=self._narrowest_share(network, alternative, exact) if network.searches_widths else 0.0,
            architecture=derived.architecture,
        )

    def _exactly(self, network: RelaxedNetwork, alternative: str, given: Probabilities) -> ArchitectureSpec:
        """What is decoded where every most probable operator stays."""
        exact = self.options.model_copy(update={"exact": True})
        return self.space.decode(given, alternative=alternative, role=network.role, options=exact)

    def _narrowest_share(self, network: RelaxedNetwork, alternative: str, exact: ArchitectureSpec) -> float:
        """Share of the connections that have the least width: that of the same cells with the first choice of every γ."""
        first: dict[Granularity, torch.Tensor] = {"gamma": torch.zeros(network.logits.gamma.shape[0], dtype=torch.int64)}
        narrow_gamma = probabilities(ArchitectureParameters.one_hot(network.logits.shapes, first))["gamma"]
        narrowest = self._exactly(network, alternative, {**probabilities(network.joined), "gamma": narrow_gamma})
        pairs = list(zip(self.space.choices_of(exact).widths, self.space.choices_of(narrowest).widths, strict=True))
        return sum(width == least for width, least in pairs) / len(pairs) if pairs else 0.0


def choose(found: tuple[Candidate, ...], *, by_accuracy: bool) -> str:
    """The alternative with the best objective, or, for a role whose latency does not matter, the best accuracy.

    Of a search that was stopped before its first evaluation it is the first.
    """

    def worth(candidate: Candidate) -> float:
        value = candidate.accuracy if by_accuracy else candidate.objective
        return -1.0 if value is None else value

    return max(found, key=worth).alternative


def write_outcome(result: SearchResult, networks: Mapping[str, RelaxedNetwork], folder: Path) -> None:
    """`result.json`; and by role the logits (`parameters-ROLE.json`) and the chosen architecture (`ROLE.json`).

    Raises:
        OSError: a file cannot be written.
    """
    for role, network in networks.items():
        logits = json.dumps(network.joined.to_json())
        (folder / f"parameters-{role}.json").write_text(logits + "\n", encoding="utf-8")
        architecture = result.architecture(role).model_dump_json(indent=2)
        (folder / f"{role}.json").write_text(architecture + "\n", encoding="utf-8")
    (folder / RESULT).write_text(result.model_dump_json(indent=2) + "\n", encoding="utf-8")
