"""FasterSeg's search space, as the rest of the project sees it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

from models.networks.structure import NetworkPlan
from models.spaces.base import (
    Choices,
    InitialLogits,
    JointChoice,
    LatencyGraph,
    ParameterShapes,
    Probabilities,
    Role,
    SearchSpace,
)
from models.spaces.decoding import DecodeOptions, every
from models.spaces.fasterseg.ablation import ablation_rows, narrowest
from models.spaces.fasterseg.architectures import sample_architecture
from models.spaces.fasterseg.catalogue import Catalogue
from models.spaces.fasterseg.decoding import DecodedBranch, FasterSegOptions, decode_branch, even_beta, layers_of_branch
from models.spaces.fasterseg.descriptions import described, path_choice
from models.spaces.fasterseg.ends import choices, ends_of, label_of
from models.spaces.fasterseg.genotype import FasterSegGenotype, NetworkParameters, architecture_of
from models.spaces.fasterseg.latency import latency_graph, parameter_shapes
from models.spaces.fasterseg.network import layout, plan
from models.spaces.fasterseg.parameters import (
    FULL_WIDTH,
    GRID_VERSION,
    OPERATORS,
    SCALES,
    STUDENT,
    TEACHER,
    WITHOUT_JOINS,
    FasterSegParameters,
)
from models.spaces.fasterseg.published import FORMAT, PROVENANCE, TITLE, published_operators, read_rows
from models.spaces.fasterseg.published_parameters import read_parameter_file
from models.spaces.fasterseg.published_rules import MIN_LAYERS, decode_as_published
from models.spaces.fasterseg.variation import head_terms, most_probable_paths, paths
from models.spaces.published import (
    AblationRow,
    AblationStudy,
    OperatorComparison,
    ParameterReader,
    PublishedOperator,
    PublishedReader,
    PublishedTable,
)
from models.spaces.search_defaults import PUBLISHED_WEIGHTS, LatencySettings, SearchDefaults
from models.spaces.variation import HeadTerm
from models.spec.architectures import ArchitectureSpec, SpaceSpec
from models.spec.errors import InvalidSpecError, TableFileError
from models.spec.measurements import ProtocolName
from models.spec.operators import Dtype, OperatorSpec

if TYPE_CHECKING:
    import numpy as np

    from models.networks.module import Network
    from models.supernets.base import Supernet


class FasterSegBase(SearchSpace):
    """Branches of sequential cells at 1/8, 1/16 and 1/32 between a fixed stem and a head that aggregates them: FasterSeg's
    space, and what others build on it.

    Attributes:
        parameters_type: of the space's parameters.
        catalogue_type: makes its operators.
    """

    parameters_type: ClassVar[type[FasterSegParameters]] = FasterSegParameters
    catalogue_type: ClassVar[type[Catalogue]] = Catalogue
    grid_version: ClassVar[int] = GRID_VERSION
    size_multiple: int = SCALES[0]
    decode_options: ClassVar[type[DecodeOptions]] = FasterSegOptions
    alternatives_label: ClassVar[str] = "branches"
    search_defaults: ClassVar[SearchDefaults] = SearchDefaults(latency=LatencySettings(weights=PUBLISHED_WEIGHTS))
    granularity_labels: ClassVar[Mapping[str, str]] = {"alpha": "operator", "beta": "downsampling", "gamma": "expansion"}
    idle_operators: ClassVar[Collection[str]] = ("skip",)
    paths_together: ClassVar[bool] = True

    def __init__(self, spec: SpaceSpec, parameters: FasterSegParameters) -> None:
        super().__init__(spec)
        self.parameters = parameters
        self._catalogue = self.catalogue_type(self.spec, parameters)

    @classmethod
    def from_spec(cls, spec: SpaceSpec) -> Self:
        spec.require_multiple(cls.size_multiple, "the downsample rate of the stem")
        spec.require_version(WITHOUT_JOINS, GRID_VERSION)
        parameters = cls.parameters_type.of(spec)
        space = cls(spec.model_copy(update={"parameters": parameters.model_dump()}), parameters)
        space.operators()  # refuses sizes beyond the limits of a workload
        return space

    @classmethod
    def of_architecture(cls, architecture: ArchitectureSpec) -> Self:
        """The default space, extended where the architecture is longer or has other widths. Where the default widths do not
        go with these, it has the architecture's alone.
        """
        defaults = FasterSegParameters()
        branches = FasterSegGenotype.of(architecture).branches
        used = {width for branch in branches for width in branch.widths}
        longest = max(len(branch.operators) for branch in branches)
        own = {"layers": max(defaults.layers, longest), **NetworkParameters.of(architecture).model_dump()}
        all_widths, own_widths = ({**own, "widths": tuple(sorted(widths))} for widths in ({*defaults.widths, *used}, used))
        spec = architecture.space_spec()
        try:
            return cls.from_spec(spec.model_copy(update={"parameters": all_widths}))
        except InvalidSpecError:
            if not used:
                raise
            return cls.from_spec(spec.model_copy(update={"parameters": own_widths}))

    @classmethod
    def completed(cls, architecture: ArchitectureSpec) -> ArchitectureSpec:
        parameters, genotype = NetworkParameters.of(architecture), FasterSegGenotype.of(architecture)
        changes = {"parameters": parameters.for_network(genotype).model_dump(), "genotype": genotype.model_dump(mode="json")}
        return ArchitectureSpec.parse(architecture.model_dump() | changes)

    def alternatives(self) -> tuple[str, ...]:
        return choices(self.parameters.branches)

    def alternative_of(self, architecture: ArchitectureSpec) -> str:
        return label_of(FasterSegGenotype.of(architecture).ends)

    def alternative_outputs(self, alternative: str) -> tuple[int, ...]:
        return tuple(SCALES.index(end) for end in ends_of(alternative))

    def resolve_alternative(self, text: str) -> str:
        return label_of(ends_of(text, self.parameters.branches))

    def choices_of(self, architecture: ArchitectureSpec) -> Choices:
        branches = FasterSegGenotype.of(architecture).branches
        return Choices(
            operators=tuple(kind for branch in branches for kind in branch.operators),
            widths=tuple(width for branch in branches for width in branch.widths),
            size="+".join(str(len(branch.operators)) for branch in branches) + " cells",
        )

    def describe(self, architecture: ArchitectureSpec) -> tuple[str, ...]:
        return described(architecture, self.plan(architecture))

    def initial_logits(self) -> InitialLogits:
        return {"beta": even_beta(self.parameters.layers)}

    def choice_names(self) -> Mapping[str, Sequence[str]]:
        widths = [f"{width}/{FULL_WIDTH}" for width in self.parameters.widths]
        return {"alpha": OPERATORS, "beta": ("from the finer scale", "kept"), "gamma": widths}

    def deciding_rows(
        self,
        probabilities: Probabilities,
        *,
        alternative: str = "",
        role: Role | None = None,
        options: DecodeOptions | None = None,
    ) -> Mapping[str, Mapping[str, Sequence[int]]]:
        rows: dict[str, dict[str, set[int]]] = {name: defaultdict(set) for name in ("alpha", "gamma")}
        for branch in self._branches(*self._resolve(probabilities, alternative, role, options)):
            for granularity, group, row in branch.rows():
                rows[granularity][group].add(row)
        return {name: {group: sorted(taken) for group, taken in groups.items()} for name, groups in rows.items()}

    def layers_of(
        self, probabilities: Probabilities, architecture: ArchitectureSpec, *, role: Role | None = None
    ) -> tuple[tuple[int, ...], ...] | None:
        given, _, whose, _ = self._resolve(probabilities, self.alternative_of(architecture), role, None)
        branches = FasterSegGenotype.of(architecture).branches
        found = [layers_of_branch(self.parameters, given, branch, widest=whose.widest) for branch in branches]
        layers = tuple(one for one in found if one is not None)
        return layers if len(layers) == len(found) else None

    def joint_choices(self, probabilities: Probabilities, options: DecodeOptions | None = None) -> tuple[JointChoice, ...]:
        if isinstance(options, FasterSegOptions) and options.rules != "ours":
            return ()
        return tuple(path_choice(self.parameters.layers, probabilities, end) for end in SCALES[1:])

    def operators(self) -> tuple[OperatorSpec, ...]:
        return self._grid

    @cached_property
    def _grid(self) -> tuple[OperatorSpec, ...]:
        # The catalogue makes each operator once, so that identity tells repeats apart, without a key of each.
        return tuple({id(operator): operator for operator in self._catalogue.grid()}.values())

    def parameter_shapes(self) -> ParameterShapes:
        return parameter_shapes(self.parameters)

    def latency_graph(self) -> LatencyGraph:
        return latency_graph(self.parameters, self._catalogue)

    def plan(self, architecture: ArchitectureSpec) -> NetworkPlan:
        joins_charged = self.spec.version != WITHOUT_JOINS
        return plan(layout(architecture, self.spec, self.parameters), self._catalogue, joins_charged=joins_charged)

    def without_joins(self) -> SearchSpace | None:
        if self.spec.version == WITHOUT_JOINS:
            return self
        return type(self)(self.spec.model_copy(update={"version": WITHOUT_JOINS}), self.parameters)

    def sample(self, rng: np.random.Generator) -> ArchitectureSpec:
        return sample_architecture(self.spec, self.parameters, rng)

    def random_paths(self, alternative: str, rng: np.random.Generator) -> tuple[int, ...]:
        """Every way to downsample is as likely as any other; uniform rows of β would favour late places."""
        ends = tuple(SCALES[place] for place in self.alternative_outputs(alternative))
        possible = paths(self.parameters.layers, ends)
        return possible[int(rng.integers(len(possible)))]

    def most_probable_paths(self, probabilities: Probabilities, alternative: str) -> tuple[int, ...]:
        ends = tuple(SCALES[place] for place in self.alternative_outputs(alternative))
        return most_probable_paths(self.parameters.layers, probabilities, ends)

    def earliest_paths(self, alternative: str) -> tuple[int, ...]:
        """Each coarser scale is entered at its first place, by all branches together."""
        ends = tuple(SCALES[place] for place in self.alternative_outputs(alternative))
        return paths(self.parameters.layers, ends)[0]

    def head_terms(self) -> tuple[HeadTerm, ...]:
        joins_charged = self.spec.version != WITHOUT_JOINS
        return head_terms(self.graph, self.parameters, self._catalogue, joins_charged=joins_charged)

    def _decode(
        self, probabilities: Probabilities, alternative: str, role: Role, options: FasterSegOptions
    ) -> ArchitectureSpec:
        branches = [found.branch for found in self._branches(probabilities, alternative, role, options)]
        return architecture_of(self.spec, self.parameters, branches, widest=role.widest)

    def _decoded_layers(
        self, probabilities: Probabilities, alternative: str, role: Role, options: FasterSegOptions
    ) -> tuple[tuple[int, ...], ...]:
        return tuple(found.layers for found in self._branches(probabilities, alternative, role, options))

    def _branches(
        self, probabilities: Probabilities, alternative: str, role: Role, options: FasterSegOptions
    ) -> list[DecodedBranch]:
        given: dict[str, bool] = {"keep_skips": options.exact, "widest": role.widest}
        if options.rules == "published":
            found = decode_as_published(self.parameters, probabilities, **given)
            return [found[end] for end in ends_of(alternative)]
        return [decode_branch(self.parameters, probabilities, end, **given) for end in ends_of(alternative)]

    def possible_options(self) -> Sequence[DecodeOptions]:
        enough = self.parameters.layers >= MIN_LAYERS
        return [options for options in every(FasterSegOptions) if enough or options.rules == "ours"]

    def roles(self) -> tuple[Role, ...]:
        return (Role(STUDENT), Role(TEACHER, searches=frozenset({"alpha", "beta"}), sees_latency=False))

    def supernet(self) -> Supernet:
        from models.spaces.fasterseg.supernet import build_supernet

        return build_supernet(self.parameters, self._catalogue, self.spec.classes)

    def copy_weights(
        self,
        supernet: Supernet,
        role: str,
        architecture: ArchitectureSpec,
        network: Network,
        *,
        layers: Sequence[Sequence[int]] | None = None,
    ) -> None:
        from models.spaces.fasterseg.supernet import WeightCopy

        WeightCopy(supernet, role, network).copy(architecture, self.parameters, layers)


class FasterSegSpace(FasterSegBase, PublishedReader, ParameterReader, OperatorComparison, AblationStudy):
    """FasterSeg's search space.

    Parameters of the spec: see `FasterSegParameters`.

    Source: FasterSeg (Chen et al., ICLR 2020), section 3.1 and Appendix A; details as in its published code.
    """

    name: ClassVar[str] = "fasterseg"
    description: ClassVar[str] = "FasterSeg (ICLR 2020): multi-resolution branches, five operators, searchable widths"
    published_format: ClassVar[str] = FORMAT
    parameter_suffixes: ClassVar[tuple[str, ...]] = (".pt",)
    comparison_command: ClassVar[str] = "table1"
    comparison_title: ClassVar[str] = TITLE

    @classmethod
    def read_published(cls, path: Path) -> PublishedTable:
        rows = read_rows(path)
        try:
            parameters = {"factorised_skips": 1}  # as they were timed
            spec = SpaceSpec(
                name=cls.name,
                input_size=rows.input_size,
                classes=rows.classes,
                parameters=parameters,
                version=WITHOUT_JOINS,
            )
            space = cls.from_spec(spec)
        except InvalidSpecError as error:
            raise TableFileError(f"{path}: {error.message}", hint=error.hint) from error
        return PublishedTable(space.spec, rows.entries, ProtocolName.ISOLATED, PROVENANCE)

    @classmethod
    def read_published_parameters(cls, path: Path) -> Mapping[str, Mapping[str, list[list[float]]]]:
        return read_parameter_file(path)

    def ablation(self) -> tuple[AblationRow, ...]:
        return ablation_rows(self.spec, self.parameters)

    def narrowest(self, architecture: ArchitectureSpec) -> ArchitectureSpec:
        return narrowest(self.spec, self.parameters, architecture)

    @classmethod
    def published_operators(cls, dtype: Dtype) -> tuple[PublishedOperator, ...]:
        return published_operators(dtype)
