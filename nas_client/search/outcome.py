"""What a search found: the networks that its parameters decode to, and which of them are chosen."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch

from models.spaces.base import SearchSpace
from models.spec.architectures import ArchitectureSpec
from models.spec.base import Record
from nas_client.latency.parameters import ArchitectureParameters, Granularity
from nas_client.runs.manifest import RESULT
from nas_client.search.branches import branches_label, objective
from nas_client.search.config import SearchConfig
from nas_client.search.derivation import derive, probabilities
from nas_client.search.epochs import Decoded
from nas_client.search.relaxed_network import RelaxedNetwork
from nas_client.table import LookupTable

IDLE_KINDS = frozenset({"skip", "identity"})
"""Operators that compute nothing of their own."""


class Candidate(Record):
    """One network that the search may end in.

    Attributes:
        accuracy: mIoU of the supernet as this role with these branches; None where it was never evaluated.
        objective: ACC·(LAT/T)^w.
        macs, parameters: multiply-adds and weights of the network.
    """

    branches: tuple[int, ...]
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
        latency_share: of the time of all search steps, that of the latency loss; None without one.
        candidates: by role.
        chosen: by role, the branches of the network that is taken.
    """

    finished: bool
    epochs: int
    table: str
    pretrained: str | None = None
    weights: tuple[float, float, float]
    latency_share: float | None
    candidates: Mapping[str, tuple[Candidate, ...]]
    chosen: Mapping[str, tuple[int, ...]]

    def architecture(self, role: str) -> ArchitectureSpec:
        """The chosen network of that role."""
        return next(c.architecture for c in self.candidates[role] if c.branches == self.chosen[role])


def decoded(network: RelaxedNetwork, space: SearchSpace, table: LookupTable) -> tuple[Decoded, ...]:
    """The networks that a role's parameters stand for now, one for each choice of branches."""
    return tuple(_decoded(network, space, table, branches) for branches in space.branch_choices())


def _decoded(network: RelaxedNetwork, space: SearchSpace, table: LookupTable, branches: tuple[int, ...]) -> Decoded:
    derived = derive(network.joined, table, branches=branches, widest=network.widest)
    given = probabilities(network.joined)
    with_skips = space.decode(given, branches=branches, keep_skips=True, widest=network.widest)
    kinds = space.choices_of(with_skips).operators
    return Decoded(
        branches=branches,
        estimate_ms=derived.estimate.sum_ms,
        skip_share=sum(kind in IDLE_KINDS for kind in kinds) / len(kinds),
        narrowest_share=0.0 if network.widest else _narrowest_share(network, space, with_skips, branches),
        architecture=derived.architecture,
    )


def _narrowest_share(
    network: RelaxedNetwork, space: SearchSpace, with_skips: ArchitectureSpec, branches: tuple[int, ...]
) -> float:
    """Share of the connections that have the least width: that of the same cells decoded with the first choice of every γ."""
    first: dict[Granularity, torch.Tensor] = {"gamma": torch.zeros(network.logits.gamma.shape[0], dtype=torch.int64)}
    narrow_gamma = probabilities(ArchitectureParameters.one_hot(network.logits.shapes, first))["gamma"]
    narrowest = space.decode({**probabilities(network.joined), "gamma": narrow_gamma}, branches=branches, keep_skips=True)
    pairs = list(zip(space.choices_of(with_skips).widths, space.choices_of(narrowest).widths, strict=True))
    return sum(width == least for width, least in pairs) / len(pairs) if pairs else 0.0


def candidates(
    network: RelaxedNetwork,
    space: SearchSpace,
    table: LookupTable,
    accuracies: Mapping[str, float | None],
    config: SearchConfig,
) -> tuple[Candidate, ...]:
    """A role's networks with what decides between them."""
    found = []
    for branches in space.branch_choices():
        derived = derive(network.joined, table, branches=branches, widest=network.widest)
        accuracy = accuracies.get(branches_label(branches))
        value = None
        if accuracy is not None:
            value = objective(accuracy, derived.estimate.sum_ms, target_ms=config.target_ms, exponent=config.exponent)
        found.append(
            Candidate(
                branches=branches,
                estimate_ms=derived.estimate.sum_ms,
                macs=derived.costs.macs,
                parameters=derived.costs.parameters,
                accuracy=accuracy,
                objective=value,
                architecture=derived.architecture,
            )
        )
    return tuple(found)


def choose(found: tuple[Candidate, ...], *, by_accuracy: bool) -> tuple[int, ...]:
    """Branches of the network with the best objective, or, for a role whose latency does not matter, the best accuracy."""

    def worth(candidate: Candidate) -> float:
        value = candidate.accuracy if by_accuracy else candidate.objective
        return -1.0 if value is None else value

    return max(found, key=worth).branches


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
