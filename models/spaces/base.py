"""What every search space is to the rest of the project. Nothing outside `models.spaces` asks which space it has.

The mathematics (docs/latency.md): with softmax-normalised α, β, γ

    relaxed = Σ_edges reach(e; β) · cost(e; α, γ) + fixed

where an edge is one mixed operator between two feature maps. A space states its nodes and edges once, as data
(`LatencyGraph`); the latency terms, their gradients and the brute-force tests are all computed from it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

from models.networks.network_count import count_networks
from models.networks.structure import Edge as Edge
from models.networks.structure import LatencyGraph as LatencyGraph
from models.networks.structure import NetworkPlan
from models.networks.structure import Node as Node
from models.networks.structure import NodeOperator as NodeOperator
from models.spaces.decoding import DecodeOptions as DecodeOptions
from models.spaces.decoding import every, listed_alternative, settled_options
from models.spaces.explanations import InitialLogits as InitialLogits
from models.spaces.explanations import JointChoice as JointChoice
from models.spaces.explanations import ParameterExplanations
from models.spaces.probabilities import Probabilities as Probabilities
from models.spaces.probabilities import resolve_probabilities
from models.spaces.roles import GRANULARITIES as GRANULARITIES
from models.spaces.roles import LETTERS as LETTERS
from models.spaces.roles import ParameterShapes as ParameterShapes
from models.spaces.roles import Role as Role
from models.spaces.search_defaults import SearchDefaults
from models.spaces.variation import Variation
from models.spec.architectures import ArchitectureSpec, InputSize, SpaceSpec
from models.spec.errors import UnknownNameError
from models.spec.operators import OperatorSpec

if TYPE_CHECKING:
    import numpy as np

    from models.networks.module import Network
    from models.supernets.base import Supernet


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


class SearchSpace(ParameterExplanations, Variation):
    """A search space with all of its parameters. Instances are immutable and hold no torch."""

    name: ClassVar[str]
    description: ClassVar[str]
    default_input_size: ClassVar[InputSize] = (256, 512)
    """Default (height, width): small enough for any box."""

    size_multiple: int = 1
    """Heights and widths of images must be multiples of this. An instance may have another, by its parameters."""

    granularity_labels: ClassVar[Mapping[str, str]] = {"alpha": "operator", "beta": "path", "gamma": "width"}
    """What α, β and γ choose, in this space's words."""

    idle_operators: ClassVar[Collection[str]] = ()
    """Of the operators that `choices_of` tells, those that compute nothing of their own, such as a skip."""

    search_defaults: ClassVar[SearchDefaults] = SearchDefaults()
    """Phases, optimisers, schedules, losses and weights that a search begins with."""

    alternatives_label: ClassVar[str] = "alternative"
    """What `alternatives` are, in this space's words."""

    decode_options: ClassVar[type[DecodeOptions]] = DecodeOptions
    """The record of what may be asked for when parameters are decoded. `nas-client derive` makes options of its fields."""

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
        return cls.from_spec(architecture.space_spec())

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

    def describe(self, architecture: ArchitectureSpec) -> tuple[str, ...]:
        """The network in lines of text, by default its charged operators. Raises InvalidSpecError if it is not the space's."""
        return tuple(operator.label() for operator in self.plan(architecture).operators())

    def alternatives(self) -> tuple[str, ...]:
        """Labels of the networks that one set of parameters stands for, of which a search takes the best; one empty label where
        there is nothing to choose.
        """
        return ("",)

    def alternative_of(self, architecture: ArchitectureSpec) -> str:
        """The label of the alternative that an architecture is; empty where there is nothing to choose.

        Raises:
            InvalidSpecError: the architecture is not one of this space's.
        """
        return ""

    def alternative_outputs(self, alternative: str) -> tuple[int, ...]:
        """Places, among the outputs of `latency_graph`, of those at which the alternative's network ends; empty: all of them.

        Raises:
            InvalidSpecError: there is no such alternative.
        """
        return ()

    def possible_options(self) -> Sequence[DecodeOptions]:
        """All options by which it can decode, the defaults first. By default every combination of what can be listed."""
        return every(self.decode_options)

    def resolve_alternative(self, text: str) -> str:
        """The label that a text stands for. By default the text itself, which must be one of `alternatives`; a space may know
        more of them than it chooses from, and other spellings.

        Raises:
            InvalidSpecError: there is no such alternative; lists those that there are.
        """
        return listed_alternative(text, self.alternatives(), self.name)

    @abstractmethod
    def operators(self) -> tuple[OperatorSpec, ...]:
        """The grid to profile: all operators of the space's architectures and latency terms, without repeats."""

    @abstractmethod
    def parameter_shapes(self) -> ParameterShapes:
        """Shapes of the logits of α, β, γ."""

    @abstractmethod
    def latency_graph(self) -> LatencyGraph:
        """The mixed operators whose expected latency is the loss, summed over all outputs."""

    def size(self) -> int:
        """How many discrete networks the space has, over all `alternatives`: as many as `decode` gives where it is exact.
        Outputs that share a cell share its choices. Where idle operators are then removed, some become equal.
        """
        graph, shapes = self.latency_graph(), self.parameter_shapes()
        counts = {name: [n for rows, n in groups.values() for _ in range(rows)] for name, groups in shapes.items()}
        places = (self.alternative_outputs(alternative) for alternative in self.alternatives())
        ends = ([graph.outputs[place] for place in found] if graph.outputs and found else None for found in places)
        return sum(count_networks(graph, counts, outputs) for outputs in ends)

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
            layers: of `decoded_layers`: for each output, the supernet's layer of each cell; in order where None. Where skips
                were removed, others follow at a distance.

        Raises:
            InvalidSpecError: the supernet has no such role or cells.
        """

    @abstractmethod
    def sample(self, rng: np.random.Generator) -> ArchitectureSpec:
        """A random architecture. Its operators and widths come from a distribution that is itself drawn first, so that
        latencies of several samples spread two- to fourfold (docs/measurement.md).
        """

    def decode(
        self,
        probabilities: Probabilities,
        *,
        alternative: str = "",
        role: Role | None = None,
        options: DecodeOptions | None = None,
    ) -> ArchitectureSpec:
        """The architecture that α, β and γ stand for.

        Args:
            probabilities: of every choice, row by row, as `parameter_shapes` has them.
            alternative: one of `alternatives`, or what `resolve_alternative` takes besides; empty where there is nothing to
                choose.
            role: for whom; the role that sees latency where None. Of a role for which widths are not searched, γ is not looked
                at and may be absent.
            options: of `decode_options`, or those that every space has; the defaults where None.

        Raises:
            InvalidSpecError: the probabilities are not this space's, or are none; there is no such alternative; or the options
                are another space's.
        """
        return self._decode(*self._resolve(probabilities, alternative, role, options))

    def decoded_layers(
        self,
        probabilities: Probabilities,
        *,
        alternative: str = "",
        role: Role | None = None,
        options: DecodeOptions | None = None,
    ) -> tuple[tuple[int, ...], ...] | None:
        """For each output of the decoded architecture the layer of each cell, for `copy_weights`. None: all, in order.

        Raises:
            InvalidSpecError: as `decode`.
        """
        return self._decoded_layers(*self._resolve(probabilities, alternative, role, options))

    def _resolve(
        self, probabilities: Probabilities, alternative: str, role: Role | None, options: DecodeOptions | None
    ) -> tuple[Probabilities, str, Role, Any]:
        whose, shapes = role or self.searched_role(), self.parameter_shapes()
        return (
            resolve_probabilities(probabilities, {**shapes, "gamma": {}} if whose.widest else shapes),
            self.resolve_alternative(alternative),
            whose,
            settled_options(self.decode_options, options, self.name),
        )

    @abstractmethod
    def _decode(self, probabilities: Probabilities, alternative: str, role: Role, options: Any) -> ArchitectureSpec:
        """As `decode`, with checked arguments; `options` is a `decode_options`. γ is absent if `role.widest`."""

    def _decoded_layers(
        self, probabilities: Probabilities, alternative: str, role: Role, options: Any
    ) -> tuple[tuple[int, ...], ...] | None:
        """As `decoded_layers`, with checked arguments."""
        return None

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
