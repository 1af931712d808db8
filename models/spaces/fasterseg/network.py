"""The network of a FasterSeg architecture: its branches, the cells that they share, and the head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from models.networks.structure import INPUT, NetworkPlan, OperatorStep
from models.spaces.fasterseg.catalogue import Catalogue
from models.spaces.fasterseg.genotype import BranchSpec, FasterSegGenotype, NetworkParameters
from models.spaces.fasterseg.parameters import MAX_BRANCHES, OPERATORS, SCALES, FasterSegParameters
from models.spec.architectures import ArchitectureSpec, SpaceSpec, foreign_architecture
from models.spec.errors import InvalidSpecError, UnknownNameError
from models.spec.operators import OperatorSpec


@dataclass(frozen=True)
class Cell:
    """One cell of a branch: its operator, the scale of its input, its channels and stride."""

    kind: str
    scale: int
    in_channels: int
    out_channels: int
    stride: int


@dataclass(frozen=True)
class Layout:
    """A checked architecture: the widths of its stem and head, and each branch's cells."""

    stem_width: int
    head_width: int
    branches: tuple[tuple[Cell, ...], ...]


def layout(architecture: ArchitectureSpec, spec: SpaceSpec, parameters: FasterSegParameters) -> Layout:
    """The architecture's cells.

    Raises:
        InvalidSpecError: the architecture is not one of that space's; names the field, its value and what is allowed.
    """
    network = _network_parameters(architecture, spec, parameters)
    genotype = FasterSegGenotype.of(architecture)
    if genotype.has_strided_skips and network.factorised_skips != parameters.factorised_skips:
        raise foreign_architecture("factorised_skips", network.factorised_skips, parameters.factorised_skips)
    given = genotype.branches
    if len(given) > MAX_BRANCHES:
        raise InvalidSpecError(f"genotype.branches: {len(given)} of them; at most {MAX_BRANCHES} are possible")
    branches: dict[int, tuple[Cell, ...]] = {}
    for index, branch in enumerate(given):
        where = f"genotype.branches.{index}"
        _check_branch(branch, where, parameters)
        if branch.scales[-1] in branches:
            raise InvalidSpecError(
                f"{where}.scales: the branch ends at 1/{branch.scales[-1]}, where an earlier one ends; "
                "branches must end at different scales"
            )
        branches[branch.scales[-1]] = _cells(branch, network.stem_width, network.head_width, parameters)
    return Layout(network.stem_width, network.head_width, tuple(branches.values()))


def plan(layout: Layout, catalogue: Catalogue, *, joins_charged: bool = True) -> NetworkPlan:
    """The network: stem, cells (each shared one once), each branch's way back to 1/8, fusion, classes, upsampling.

    `joins_charged`: whether the head's resizes and concatenations are terms of an estimate.
    """
    return _PlanBuilder(layout, catalogue, joins_charged=joins_charged).build()


def _network_parameters(architecture: ArchitectureSpec, spec: SpaceSpec, parameters: FasterSegParameters) -> NetworkParameters:
    """The architecture's, which must be possible in this space."""
    spec.require_own(architecture)
    network = NetworkParameters.of(architecture)
    if network.base_channels != parameters.base_channels:
        raise foreign_architecture("base_channels", network.base_channels, parameters.base_channels)
    for name, allowed in (("stem_width", parameters.stem_widths), ("head_width", parameters.head_widths)):
        if (width := getattr(network, name)) not in allowed:
            raise InvalidSpecError(f"{name}: {width} is not one of {_listed(allowed)}, the widths of this search space")
    return network


def _check_branch(branch: BranchSpec, where: str, parameters: FasterSegParameters) -> None:
    cells = len(branch.operators)
    if cells > parameters.layers:
        raise InvalidSpecError(f"{where}.operators: {cells} cells; this search space has {parameters.layers} layers")
    for index, kind in enumerate(branch.operators):
        if kind not in OPERATORS:
            raise UnknownNameError.of(f"operator at {where}.operators.{index}:", kind, OPERATORS)
    if not branch.scales:
        raise InvalidSpecError(f"{where}.scales: none given; {cells} are needed, one per operator")
    if len(branch.widths) != cells - 1:
        raise InvalidSpecError(f"{where}.widths: none given; {cells - 1} are needed, one between successive cells")
    for index, width in enumerate(branch.widths):
        if width not in parameters.widths:
            raise InvalidSpecError(f"{where}.widths.{index}: {width} is not one of {_listed(parameters.widths)}")
    for index, scale in enumerate(branch.scales):
        before = branch.scales[index - 1]
        allowed = [s for s in SCALES if s in (before, 2 * before)] if index else SCALES[:1]
        if scale not in allowed:
            after = f" after {before}" if index else ", the first"
            raise InvalidSpecError(f"{where}.scales.{index}: {scale} is not one of {_listed(allowed)}{after}")


def _listed(values: Sequence[int]) -> str:
    return ", ".join(map(str, values))


def _cells(branch: BranchSpec, stem_width: int, head_width: int, parameters: FasterSegParameters) -> tuple[Cell, ...]:
    scales = (*branch.scales, branch.scales[-1])
    widths = (stem_width, *branch.widths, head_width)
    channels = [parameters.channels(scale, width) for scale, width in zip(scales, widths, strict=True)]
    return tuple(
        Cell(kind, scales[i], channels[i], channels[i + 1], scales[i + 1] // scales[i])
        for i, kind in enumerate(branch.operators)
    )


def _auxiliary(branches: Sequence[Sequence[Cell]], maps: Sequence[Sequence[str]]) -> tuple[tuple[str, ...], ...]:
    """What the auxiliary heads of the published code see: at each coarse scale the ends of branches there, and the last maps of
    those that go on, in the order of the branches.
    """
    seen: dict[int, list[str]] = {scale: [] for scale in SCALES[1:]}
    for cells, names in zip(branches, maps, strict=True):
        for index, cell in enumerate(cells):
            if cell.scale in seen and (cell.stride > 1 or index == len(cells) - 1):
                seen[cell.scale].append(names[index] if cell.stride > 1 else names[-1])
    return tuple(tuple(names) for names in seen.values() if names)


class _PlanBuilder:
    """Collects the steps of one network."""

    def __init__(self, layout: Layout, catalogue: Catalogue, *, joins_charged: bool) -> None:
        self._layout = layout
        self._catalogue = catalogue
        self._joins_charged = joins_charged
        self._steps: list[OperatorStep] = []
        self._shared: dict[tuple[Cell, ...], str] = {}

    def build(self) -> NetworkPlan:
        head_width, branches = self._layout.head_width, self._layout.branches
        catalogue = self._catalogue
        last = INPUT
        for index, operator in enumerate(catalogue.stem(self._layout.stem_width)):
            last = self._add(OperatorStep(f"stem{index}", operator, last))
        maps = [self._branch(index, cells, last) for index, cells in enumerate(branches)]
        for index, (cells, names) in enumerate(zip(branches, maps, strict=True)):
            scale = cells[-1].scale * cells[-1].stride
            names[-1] = self._chain(f"branch{index}_end", catalogue.branch_end(scale, head_width), names[-1])
        ends = tuple(self._aggregate(index, cells, maps[index]) for index, cells in enumerate(branches))
        last = ends[0]
        if len(ends) > 1:
            last = self._join("branches", catalogue.branch_join(len(ends), head_width), *ends)
        last = self._add(OperatorStep("fusion", catalogue.fusion(len(ends), head_width), last))
        last = self._chain("fused", catalogue.before_classifier(len(ends), head_width), last)
        last = self._add(OperatorStep("classifier", catalogue.classifier(len(ends), head_width), last))
        self._add(OperatorStep("upsampling", catalogue.upsampling(), last))
        return NetworkPlan(tuple(self._steps), tuple(names[-1] for names in maps), _auxiliary(branches, maps))

    def _add(self, step: OperatorStep) -> str:
        self._steps.append(step)
        return step.name

    def _join(self, name: str, operator: OperatorSpec, *sources: str) -> str:
        return self._add(OperatorStep(name, operator, sources, charged=self._joins_charged))

    def _chain(self, name: str, operators: Sequence[OperatorSpec], source: str) -> str:
        """Adds operators one after the other; returns the name of the last map."""
        for place, operator in enumerate(operators):
            source = self._add(OperatorStep(f"{name}{place}", operator, source))
        return source

    def _branch(self, branch: int, cells: tuple[Cell, ...], stem: str) -> list[str]:
        """Adds the cells that no earlier branch has; returns the name of the map before and after each cell."""
        maps = [stem]
        for index, cell in enumerate(cells):
            path = cells[: index + 1]
            if path not in self._shared:
                operator = self._catalogue.cell(cell.kind, cell.scale, cell.in_channels, cell.out_channels, cell.stride)
                self._shared[path] = self._add(OperatorStep(f"branch{branch}_cell{index}", operator, maps[-1], index))
            maps.append(self._shared[path])
        return maps

    def _aggregate(self, branch: int, cells: tuple[Cell, ...], maps: list[str]) -> str:
        """A branch's way back to 1/8: reduce, resize ×2, concatenate with its last map at that scale, refine."""
        head_width, last = self._layout.head_width, maps[-1]
        for index in reversed(range(len(cells))):
            leaving = cells[index]
            if leaving.stride == 1:
                continue
            scale, skipped = leaving.scale, maps[index]
            reduction = self._catalogue.reduction(2 * scale, head_width)
            refinement = self._catalogue.refinement(scale, head_width, leaving.in_channels)
            last = self._add(OperatorStep(f"branch{branch}_reduce{scale}", reduction, last))
            last = self._join(f"branch{branch}_resize{scale}", self._catalogue.enlargement(scale, head_width), last)
            join = self._catalogue.skip_join(scale, head_width, leaving.in_channels)
            last = self._join(f"branch{branch}_join{scale}", join, last, skipped)
            last = self._add(OperatorStep(f"branch{branch}_refine{scale}", refinement, last))
        return last
