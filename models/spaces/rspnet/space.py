"""RSPNet's search space, as the rest of the project sees it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Self

from models.networks.graph_plan import GraphChoices, graph_plan
from models.networks.structure import NetworkPlan
from models.spaces.base import Choices, DecodeOptions, LatencyGraph, ParameterShapes, Probabilities, Role, SearchSpace, unique
from models.spaces.rspnet.catalogue import Catalogue
from models.spaces.rspnet.defaults import SEARCH_DEFAULTS
from models.spaces.rspnet.genotype import RspNetGenotype
from models.spaces.rspnet.graph import CELL, latency_graph, parameter_shapes
from models.spaces.rspnet.parameters import CELL_EDGES, OPERATORS, SCALES, RspNetParameters
from models.spaces.search_defaults import SearchDefaults
from models.spec.architectures import ArchitectureSpec, SpaceSpec
from models.spec.errors import InvalidSpecError
from models.spec.operators import OperatorSpec

if TYPE_CHECKING:
    import numpy as np

    from models.networks.module import Network
    from models.supernets.base import Supernet

NETWORK = "network"
"""The only role, as a space without others has it."""


class RspNetSpace(SearchSpace):
    """Layers of equal cells at four scales; each place takes the best two of five paths.

    Parameters of the spec: see `RspNetParameters`.

    Source: RSPNet ("NAS-based Recursive Stage Partial Network for Light-Weight Semantic Segmentation"); docs/rspnet.md has what
    was chosen where it is silent.
    """

    name: ClassVar[str] = "rspnet"
    description: ClassVar[str] = "RSPNet: one cell at four scales, the best two paths into each, half-channel stages"
    size_multiple: int = SCALES[-1]
    granularity_labels: ClassVar[Mapping[str, str]] = {"alpha": "operator", "beta": "path", "gamma": "width"}
    idle_operators: ClassVar[Collection[str]] = ("identity",)
    search_defaults: ClassVar[SearchDefaults] = SEARCH_DEFAULTS

    def __init__(self, spec: SpaceSpec, parameters: RspNetParameters) -> None:
        super().__init__(spec)
        self.parameters = parameters
        self.size_multiple = parameters.rates[-1]
        self._catalogue = Catalogue(self.spec, parameters)

    @classmethod
    def from_spec(cls, spec: SpaceSpec) -> Self:
        spec.require_version(cls.grid_version)
        parameters = RspNetParameters.of(spec)
        spec.require_multiple(parameters.rates[-1], "the coarsest downsample rate")
        space = cls(spec.model_copy(update={"parameters": parameters.model_dump()}), parameters)
        space.operators()  # refuses sizes beyond the limits of a workload
        return space

    @classmethod
    def completed(cls, architecture: ArchitectureSpec) -> ArchitectureSpec:
        parameters, genotype = RspNetParameters.of(architecture), RspNetGenotype.of(architecture)
        genotype.choices(parameters)
        changes = {"parameters": parameters.model_dump(), "genotype": genotype.model_dump(mode="json")}
        return ArchitectureSpec.parse(architecture.model_dump() | changes)

    def choices_of(self, architecture: ArchitectureSpec) -> Choices:
        parameters = RspNetParameters.of(architecture)
        cells = parameters.layers * parameters.scales
        return Choices(operators=RspNetGenotype.of(architecture).cell, size=f"{cells}×{parameters.stack} cells")

    def choice_names(self) -> Mapping[str, Sequence[str]]:
        return {"alpha": OPERATORS, "beta": [" and ".join(pair) for pair in self.parameters.pairs]}

    def operators(self) -> tuple[OperatorSpec, ...]:
        return self._grid

    @cached_property
    def _grid(self) -> tuple[OperatorSpec, ...]:
        return unique([*self.latency_graph().operators(), *self._catalogue.head()])

    def parameter_shapes(self) -> ParameterShapes:
        return parameter_shapes(self.parameters)

    def latency_graph(self) -> LatencyGraph:
        return self._graph

    @cached_property
    def _graph(self) -> LatencyGraph:
        return latency_graph(self.parameters, self._catalogue, stack=self.parameters.stack)

    def plan(self, architecture: ArchitectureSpec) -> NetworkPlan:
        self.spec.require_own(architecture)
        if (theirs := RspNetParameters.of(architecture)) != self.parameters:
            raise InvalidSpecError(
                f"parameters: the architecture's are {theirs.model_dump()}, this search space's {self.parameters.model_dump()}",
                hint="Use the search space and table that belong to the architecture.",
            )
        choices = RspNetGenotype.of(architecture).choices(self.parameters)
        return graph_plan(self.latency_graph(), choices, self._catalogue.head())

    def sample(self, rng: np.random.Generator) -> ArchitectureSpec:
        """Operators and paths are uniform: the three operators of the one cell alone spread latencies widely enough."""
        places = self.parameters.layers * self.parameters.scales
        alpha = rng.integers(len(OPERATORS), size=len(CELL_EDGES)).tolist()
        beta = rng.integers(len(self.parameters.pairs), size=places).tolist()
        return self._architecture(GraphChoices(tuple(alpha), tuple(beta)))

    def _decode(self, probabilities: Probabilities, alternative: str, role: Role, options: DecodeOptions) -> ArchitectureSpec:
        """The most probable operators, identities too, and the most probable pairs."""
        alpha = probabilities["alpha"][CELL].argmax(axis=1).tolist()
        beta = [choice for rate in self.parameters.rates for choice in probabilities["beta"][str(rate)].argmax(axis=1).tolist()]
        return self._architecture(GraphChoices(tuple(alpha), tuple(beta)))

    def _architecture(self, choices: GraphChoices) -> ArchitectureSpec:
        return ArchitectureSpec(
            space=self.name,
            input_size=self.spec.input_size,
            classes=self.spec.classes,
            batch=self.spec.batch,
            dtype=self.spec.dtype,
            parameters=self.parameters.model_dump(),
            genotype=RspNetGenotype.from_choices(choices, self.parameters).model_dump(mode="json"),
        )

    def supernet(self) -> Supernet:
        """One cell stands in each place, whatever `stack` is."""
        from models.supernets.dag import DagSupernet
        from models.supernets.path_attention import PathAttentionCells

        graph = latency_graph(self.parameters, self._catalogue, stack=1)
        return DagSupernet({NETWORK: graph}, {NETWORK: self._catalogue.head()}, cells=PathAttentionCells)

    def copy_weights(
        self,
        supernet: Supernet,
        role: str,
        architecture: ArchitectureSpec,
        network: Network,
        *,
        layers: Sequence[Sequence[int]] | None = None,
    ) -> None:
        """As in the base class where `stack` is 1. Else each copy of a cell begins with the weights of the searched one."""
        from models.spaces.rspnet.supernet import copy_stacked

        copy_stacked(supernet, role, network, self.parameters, self._catalogue)
