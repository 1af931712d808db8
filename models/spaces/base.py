"""What every search space is to the rest of the project. Nothing outside `models.spaces` asks which space it has.

The mathematics (docs/latency.md): with softmax-normalised α, β, γ

    relaxed = Σ_edges reach(e; β) · cost(e; α, γ) + fixed

where an edge is one mixed operator between two feature maps. A space states its nodes and edges once, as data
(`LatencyGraph`); the latency terms, their gradients and the brute-force tests are all computed from it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, ClassVar, Self

from models.networks.network_count import count_networks
from models.networks.structure import Edge as Edge
from models.networks.structure import LatencyGraph as LatencyGraph
from models.networks.structure import NetworkPlan
from models.networks.structure import Node as Node
from models.networks.structure import NodeOperator as NodeOperator
from models.spaces.probabilities import Probabilities as Probabilities
from models.spaces.probabilities import resolve_probabilities
from models.spaces.search_defaults import SearchDefaults
from models.spaces.variation import Variation
from models.spec.architectures import ArchitectureSpec, InputSize, SpaceSpec
from models.spec.errors import InvalidSpecError, UnknownNameError
from models.spec.operators import OperatorSpec

if TYPE_CHECKING:
    import numpy as np

    from models.networks.module import Network
    from models.supernets.base import Supernet

ParameterShapes = Mapping[str, Mapping[str, tuple[int, int]]]
"""`{"alpha" | "beta" | "gamma": {group: (rows, choices)}}`, as in a parameter file. A granularity that a space does not have
is an empty mapping. Row r of a granularity counts through its groups in order."""


GRANULARITIES = ("alpha", "beta", "gamma")
"""Operators, paths and widths, as files name them."""

LETTERS = {"alpha": "α", "beta": "β", "gamma": "γ"}
"""Granularities as people write them."""


@dataclass(frozen=True)
class Role:
    """One of the networks that a search finds over shared weights.

    Attributes:
        name: as the supernet calls it.
        searches: granularities that are searched for it. Where widths are not, it takes the widest connections.
        sees_latency: whether its latency is part of its loss, and of the choice among its alternatives.
    """

    name: str
    searches: frozenset[str] = frozenset(GRANULARITIES)
    sees_latency: bool = True

    @property
    def widest(self) -> bool:
        """Whether it takes the widest connections everywhere, and has no γ."""
        return "gamma" not in self.searches


@dataclass(frozen=True)
class Choices:
    """What was chosen in an architecture.

    Attributes:
        operators: kind of each operator that was chosen.
        widths: each width that was chosen; empty where widths are not searched.
        size: how large the network is, for people: `10+9 cells`.
    """

    operators: tuple[str, ...]
    widths: tuple[int, ...] = ()
    size: str = ""


class SearchSpace(Variation):
    """A search space with all of its parameters. Instances are immutable and hold no torch."""

    name: ClassVar[str]
    description: ClassVar[str]
    default_input_size: ClassVar[InputSize] = (256, 512)
    """Default (height, width): small enough for any box."""

    size_multiple: ClassVar[int] = 1
    """Heights and widths of images must be multiples of this."""

    branch_ends: ClassVar[tuple[int, ...]] = ()
    """Scales at which branches may end, ascending, in the order of the latency graph's outputs; empty if branches are not
    chosen."""

    granularity_labels: ClassVar[Mapping[str, str]] = {"alpha": "operator", "beta": "path", "gamma": "width"}
    """What α, β and γ choose, in this space's words."""

    search_defaults: ClassVar[SearchDefaults] = SearchDefaults()
    """Phases, optimisers, schedules, losses and weights that a search begins with."""

    default_branches: ClassVar[int] = 0
    """Default number of branches that a network aggregates."""

    grid_version: ClassVar[int] = 1
    """Version of the grid; raised when the grid changes."""

    def __init__(self, spec: SpaceSpec) -> None:
        self.spec = spec if spec.version else spec.model_copy(update={"version": self.grid_version})

    @classmethod
    @abstractmethod
    def from_spec(cls, spec: SpaceSpec) -> Self:
        """The space of that spec, with defaults filled in and bounds checked.

        Raises:
            InvalidSpecError: names the field, its value and what is allowed.
        """

    @classmethod
    def defaults(cls) -> Self:
        """The space with default parameters."""
        return cls.from_spec(SpaceSpec(name=cls.name, input_size=cls.default_input_size))

    @classmethod
    def of_architecture(cls, architecture: ArchitectureSpec) -> Self:
        """The architecture's space. Parameters that the architecture does not state take the defaults.

        Raises:
            InvalidSpecError: there is no such space; names the field, its value and what is allowed.
        """
        return cls.from_spec(
            SpaceSpec(
                name=architecture.space,
                input_size=architecture.input_size,
                classes=architecture.classes,
                batch=architecture.batch,
                dtype=architecture.dtype,
                parameters=architecture.parameters,
            )
        )

    @classmethod
    def completed(cls, architecture: ArchitectureSpec) -> ArchitectureSpec:
        """The architecture as this space writes it, so that equal networks have equal keys: defaults of parameters and of the
        genotype filled in. By default as it is: right where all that the space writes is required.

        Raises:
            InvalidSpecError: a parameter or the genotype is none of this space's; names the field, its value and what is
                allowed.
        """
        return architecture

    def choices_of(self, architecture: ArchitectureSpec) -> Choices:
        """What was chosen in that architecture, for people and statistics. By default its charged operators.

        Raises:
            InvalidSpecError: the architecture is not one of this space's.
        """
        kinds = tuple(operator.kind for operator in self.plan(architecture).operators())
        return Choices(operators=kinds, size=f"{len(kinds)} operators")

    def alternative_of(self, architecture: ArchitectureSpec) -> tuple[int, ...]:
        """Which of `branch_choices` the architecture is; branches in its own order. Empty if branches are not chosen."""
        return ()

    @abstractmethod
    def operators(self) -> tuple[OperatorSpec, ...]:
        """The grid to profile: all operators of the space's architectures and latency terms, without repeats."""

    @abstractmethod
    def parameter_shapes(self) -> ParameterShapes:
        """Shapes of the logits of α, β, γ."""

    @abstractmethod
    def latency_graph(self) -> LatencyGraph:
        """The mixed operators whose expected latency is the loss, all branches summed."""

    def size(self) -> int:
        """How many discrete networks the space has, over all of `branch_choices`: as many as `decode` with `keep_skips` gives.
        Branches that share a cell share its choices. Where skips are then removed, some become equal.
        """
        graph, shapes = self.latency_graph(), self.parameter_shapes()
        counts = {name: [n for rows, n in groups.values() for _ in range(rows)] for name, groups in shapes.items()}
        if graph.outputs is None or not self.branch_ends:
            return count_networks(graph, counts)
        outputs = dict(zip(self.branch_ends, graph.outputs, strict=True))
        return sum(count_networks(graph, counts, [outputs[end] for end in ends]) for ends in self.branch_choices())

    @abstractmethod
    def plan(self, architecture: ArchitectureSpec) -> NetworkPlan:
        """The network of that architecture; its operators are the terms of an estimate.

        Raises:
            InvalidSpecError: the architecture is not one of this space's.
        """

    def roles(self) -> tuple[Role, ...]:
        """What a search finds, in the order of the supernet's roles; exactly one sees latency. By default one network."""
        return (Role("network"),)

    def searched_role(self) -> Role:
        """The role that sees latency."""
        return next(role for role in self.roles() if role.sees_latency)

    def role(self, name: str) -> Role:
        """The role of that name. Raises UnknownNameError."""
        for role in self.roles():
            if role.name == name:
                return role
        raise UnknownNameError.of("role", name, [role.name for role in self.roles()])

    @abstractmethod
    def supernet(self) -> Supernet:
        """A supernet of the space, with fresh weights on torch's current default device; imports torch.

        It takes images of other sizes than the space's too: networks are searched on crops.
        """

    @abstractmethod
    def copy_weights(
        self,
        supernet: Supernet,
        role: str,
        architecture: ArchitectureSpec,
        network: Network,
        *,
        layers: Sequence[Sequence[int]] | None = None,
    ) -> None:
        """Gives the network of an architecture the weights that it uses in the supernet.

        The network is then what the supernet computes for a mixture of only these choices, except for skips that are identities
        in a fixed network and convolutions in a supernet.

        Args:
            supernet: of `supernet()`.
            role: whose stem and head to take.
            architecture: one of the space's.
            network: of that architecture's plan; changed in place.
            layers: for each branch, the supernet's layer of each cell; in order where None. Where skips were removed,
                others follow at a distance.

        Raises:
            InvalidSpecError: the supernet has no such role or cells.
        """

    @abstractmethod
    def sample(self, rng: np.random.Generator) -> ArchitectureSpec:
        """A random architecture. Its operators and widths come from a distribution that is itself drawn first, so that
        latencies of several samples spread two- to fourfold (docs/measurement.md).
        """

    def branch_choices(self) -> tuple[tuple[int, ...], ...]:
        """The choices at the end of a search: ends of branches, one tuple for each network that may be decoded. One empty tuple
        if branches are not chosen.
        """
        return tuple(combinations(self.branch_ends, self.default_branches))

    def decode(
        self,
        probabilities: Probabilities,
        *,
        branches: Sequence[int] = (),
        keep_skips: bool = False,
        widest: bool = False,
    ) -> ArchitectureSpec:
        """The architecture that α, β and γ stand for.

        Args:
            probabilities: of every choice, row by row, as `parameter_shapes` has them.
            branches: scales at which the network's branches end; nothing where the space has no `branch_ends`.
            keep_skips: keep every operator that is most probable, be it one that does nothing: then the architecture's own sum
                is the relaxed latency of one-hot parameters.
            widest: take the widest connection everywhere, as a teacher does; γ is not looked at and may be absent.

        Raises:
            InvalidSpecError: the probabilities are not this space's, or are none; or branches that it cannot have.
        """
        resolved = self._resolve_probabilities(probabilities, widest=widest)
        return self._decode(resolved, self._resolve_branches(branches), keep_skips=keep_skips, widest=widest)

    def decoded_layers(
        self, probabilities: Probabilities, *, branches: Sequence[int] = (), widest: bool = False
    ) -> tuple[tuple[int, ...], ...] | None:
        """For each branch of the decoded architecture the layer of each cell, for `copy_weights`. None: all, in order.

        Raises:
            InvalidSpecError: as `decode`.
        """
        resolved = self._resolve_probabilities(probabilities, widest=widest)
        return self._decoded_layers(resolved, self._resolve_branches(branches))

    def _resolve_probabilities(self, probabilities: Probabilities, *, widest: bool) -> Probabilities:
        shapes = self.parameter_shapes()
        return resolve_probabilities(probabilities, {**shapes, "gamma": {}} if widest else shapes)

    @abstractmethod
    def _decode(
        self, probabilities: Probabilities, branches: tuple[int, ...], *, keep_skips: bool, widest: bool
    ) -> ArchitectureSpec:
        """As `decode`, with checked arguments and ascending branches. γ is absent if `widest`."""

    def _decoded_layers(self, probabilities: Probabilities, branches: tuple[int, ...]) -> tuple[tuple[int, ...], ...] | None:
        """As `decoded_layers`, with checked arguments."""
        return None

    def _resolve_branches(self, branches: Sequence[int]) -> tuple[int, ...]:
        resolved = tuple(sorted(set(branches)))
        allowed = set(resolved) <= set(self.branch_ends) and bool(resolved) == bool(self.branch_ends)
        if allowed and len(resolved) == len(branches):
            return resolved
        given = ", ".join(map(str, branches)) or "none given"
        if not self.branch_ends:
            raise InvalidSpecError(
                f"branches: {given}; search space {self.name!r} has no branches to choose", hint="Leave the branches out."
            )
        combinations_text = " or ".join(",".join(map(str, ends)) for ends in self.branch_choices())
        raise InvalidSpecError(
            f"branches: {given}; one or more of {', '.join(map(str, self.branch_ends))} must be given, each once",
            hint=f"Name the scales at which the branches end: {combinations_text}.",
        )

    def without_joins(self) -> SearchSpace | None:
        """The same space with the earlier grid in which joins are no operators, for tables that were made without them; itself
        if its grid is that. None where joins were always in the grid, or there are none.
        """
        return None

    def uncharged(self) -> str:
        """In one sentence what the sums of this space's tables leave out; empty where that is nothing."""
        if self.without_joins() is not self:
            return ""
        return (
            f"joins (resizes, concatenations, sums) are not in this table, which is of version {self.spec.version} of "
            f"{self.name}'s grid: sums leave them out; measure the table again to have them charged"
        )

    def architecture_operators(self, architecture: ArchitectureSpec) -> tuple[OperatorSpec, ...]:
        """The operators of that architecture, in order, repeats included."""
        return tuple(self.plan(architecture).operators())


def unique(operators: Sequence[OperatorSpec]) -> tuple[OperatorSpec, ...]:
    """The operators in order, without repeated keys."""
    return tuple({operator.key(): operator for operator in operators}.values())
