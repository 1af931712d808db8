"""SEARCH-Net's search space, as the rest of the project sees it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Self

from models.networks.graph_plan import graph_plan
from models.networks.structure import NetworkPlan
from models.spaces.base import (
    Choices,
    DecodeOptions,
    LatencyGraph,
    ParameterShapes,
    Probabilities,
    Role,
    SearchSpace,
    unique,
)
from models.spaces.reference_networks import ReferenceNetworks
from models.spaces.search_defaults import (
    ArchitectureOptimizer,
    LossConfig,
    OptimizerConfig,
    PretrainSettings,
    SearchDefaults,
    SearchOptimizer,
    SearchSettings,
    TrainingDefaults,
)
from models.spaces.search_net.catalogue import Catalogue
from models.spaces.search_net.genotype import SearchNetGenotype
from models.spaces.search_net.graph import choices_of, genotype_of, latency_graph
from models.spaces.search_net.parameters import MAX_LEVELS, NetworkParameters, Rows, SearchNetParameters
from models.spaces.search_net.references import REFERENCES, reference_plan
from models.spec.architectures import ArchitectureSpec, InputSize, SpaceSpec
from models.spec.errors import InvalidSpecError, UnknownNameError
from models.spec.operators import OperatorSpec

if TYPE_CHECKING:
    import numpy as np

    from models.networks.module import Network
    from models.supernets.base import Supernet

CROP = (256, 256)

_DEFAULTS = SearchDefaults(
    pretrain=PretrainSettings(epochs=0, batch_size=16, crop=CROP),
    search=SearchSettings(
        epochs=300,
        batch_size=16,
        crop=CROP,
        optimizer=SearchOptimizer(method="adam", lr=1e-3, weight_decay=0.0),
        architecture=ArchitectureOptimizer(weight_decay=1e-3),
    ),
    loss="dice",
    image_scale=1.0,
    training=TrainingDefaults(
        epochs=200, batch_size=16, crop=CROP, optimizer=OptimizerConfig(lr=1e-3), losses=LossConfig(kind="dice")
    ),
)


class SearchNetSpace(SearchSpace, ReferenceNetworks):
    """A U of cells: half of them lead down, half up, and each is searched.

    Parameters of the spec: see `SearchNetParameters`.

    Source: "SEARCH-Net", Advances in Applied Mathematics 12(8), 2023, doi 10.12677/aam.2023.128357; what it leaves open is as
    in DARTS (Liu et al., ICLR 2019), or ours (docs/search-net.md).
    """

    name: ClassVar[str] = "search_net"
    description: ClassVar[str] = "SEARCH-Net (2023): a U of cells as in DARTS, seven operators, gated bottlenecks among them"
    default_input_size: ClassVar[InputSize] = CROP
    size_multiple: int = 2**MAX_LEVELS
    granularity_labels: ClassVar[Mapping[str, str]] = {"alpha": "operator", "beta": "edges", "gamma": "width"}
    idle_operators: ClassVar[Collection[str]] = ("skip_connect",)
    search_defaults: ClassVar[SearchDefaults] = _DEFAULTS

    def __init__(self, spec: SpaceSpec, parameters: SearchNetParameters) -> None:
        super().__init__(spec)
        self.parameters = parameters
        self.size_multiple = parameters.coarsest
        self._catalogue = Catalogue(self.spec, parameters)
        self._rows = Rows(parameters)
        self._graph = latency_graph(parameters, self._catalogue, self._rows)

    @classmethod
    def from_spec(cls, spec: SpaceSpec) -> Self:
        spec.require_version(cls.grid_version)
        parameters = SearchNetParameters.of(spec)
        spec.require_multiple(parameters.coarsest, "the scale of the lowest cells")
        return cls(spec.model_copy(update={"parameters": parameters.model_dump()}), parameters)

    @classmethod
    def completed(cls, architecture: ArchitectureSpec) -> ArchitectureSpec:
        parameters = NetworkParameters.of_architecture(architecture)
        genotype = SearchNetGenotype.of(architecture)
        changes = {"parameters": parameters.model_dump(), "genotype": genotype.document()}
        return ArchitectureSpec.parse(architecture.model_dump() | changes)

    def choices_of(self, architecture: ArchitectureSpec) -> Choices:
        genotype = SearchNetGenotype.of(architecture)
        if genotype.reference:
            return super().choices_of(architecture)
        kinds = tuple(name for cell in genotype.cells for node in cell for name in node.operators)
        return Choices(operators=kinds, size=f"{len(genotype.cells)} cells")

    def choice_names(self) -> Mapping[str, Sequence[str]]:
        return {"alpha": self.parameters.names}

    def operators(self) -> tuple[OperatorSpec, ...]:
        return unique([*self._graph.operators(), *self._head()])

    def parameter_shapes(self) -> ParameterShapes:
        return self._rows.shapes()

    def latency_graph(self) -> LatencyGraph:
        return self._graph

    def plan(self, architecture: ArchitectureSpec) -> NetworkPlan:
        self.spec.require_own(architecture)
        for name, value in NetworkParameters.of_architecture(architecture).model_dump().items():
            if value != (own := getattr(self.parameters, name)):
                raise InvalidSpecError(f"parameters.{name}: the architecture's is {value}, this search space's is {own}")
        genotype = SearchNetGenotype.of(architecture)
        if genotype.reference:
            if genotype.reference not in REFERENCES:
                raise UnknownNameError.of("reference network", genotype.reference, REFERENCES)
            return reference_plan(genotype.reference, self.parameters, self._catalogue)
        genotype.require_cells_of(self.parameters)
        each_its_own = Rows(self.parameters, shared=False)
        graph = self._graph if not self.parameters.sharing else latency_graph(self.parameters, self._catalogue, each_its_own)
        return graph_plan(graph, choices_of(genotype, self.parameters), self._head())

    def references(self) -> Mapping[str, ArchitectureSpec]:
        return {name: self._architecture(SearchNetGenotype(reference=name)) for name in REFERENCES}

    def sample(self, rng: np.random.Generator) -> ArchitectureSpec:
        shapes = self.parameter_shapes()
        odds = rng.dirichlet([0.5] * len(self.parameters.operators))
        alpha = [int(k) for rows, choices in shapes["alpha"].values() for k in rng.choice(choices, size=rows, p=odds)]
        beta = [int(rng.integers(choices)) for _, choices in shapes["beta"].values()]
        return self._architecture(genotype_of(alpha, beta, self.parameters, self._rows))

    def _decode(self, probabilities: Probabilities, alternative: str, role: Role, options: DecodeOptions) -> ArchitectureSpec:
        alpha, beta = (
            [int(row.argmax()) for group in probabilities[name].values() for row in group] for name in ("alpha", "beta")
        )
        return self._architecture(genotype_of(alpha, beta, self.parameters, self._rows))

    def supernet(self) -> Supernet:
        from models.supernets.dag import DagSupernet  # torch

        role = self.searched_role().name
        return DagSupernet({role: self._graph}, {role: self._head()})

    def copy_weights(
        self,
        supernet: Supernet,
        role: str,
        architecture: ArchitectureSpec,
        network: Network,
        *,
        layers: Sequence[Sequence[int]] | None = None,
    ) -> None:
        from models.supernets.dag import DagSupernet  # torch

        if not isinstance(supernet, DagSupernet) or SearchNetGenotype.of(architecture).reference:
            raise InvalidSpecError(f"the supernet has no weights for {architecture.label()}")
        supernet.copy_to(network, role)

    def _architecture(self, genotype: SearchNetGenotype) -> ArchitectureSpec:
        own = self.spec
        return ArchitectureSpec(
            space=self.name,
            input_size=own.input_size,
            classes=own.classes,
            batch=own.batch,
            dtype=own.dtype,
            parameters=self.parameters.network.model_dump(),
            genotype=genotype.document(),
        )

    def _head(self) -> tuple[OperatorSpec, ...]:
        first = self.parameters.places[-1]
        return self._catalogue.head(first.scale, self.parameters.channels(first.level))
