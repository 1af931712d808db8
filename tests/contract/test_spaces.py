"""The suite of what every search space must satisfy, on FasterSeg at several sizes and on a toy space of DAG cells."""

from __future__ import annotations

import numpy as np

from models.networks.structure import downsample_rate
from models.spaces.fasterseg.genotype import BranchSpec
from models.spaces.fasterseg.parameters import OPERATORS, SCALES
from models.spaces.fasterseg.space import FasterSegSpace
from models.spec.architectures import ArchitectureSpec, SpaceSpec
from models.spec.operators import OperatorSpec
from models.testing import SmallSpaceSuite, SpaceSuite
from models.testing.decoding import SEEDS
from models.testing.graph_reference import Probabilities
from models.testing.plans import map_shapes_of
from tests.support.fasterseg_networks import branches_of, network, with_branches
from tests.support.toy_space import CELLS, EDGES, KINDS, ToySpace


class TestToy(SmallSpaceSuite):
    spec = SpaceSpec(name="toy_dag", input_size=(16, 24), classes=5)

    def architectures(self, space: ToySpace, choices: Probabilities) -> list[ArchitectureSpec]:
        kinds = tuple(KINDS[row.index(1)] for row in choices.alpha)
        return [ArchitectureSpec(space=space.name, input_size=(16, 24), classes=5, genotype={"operators": kinds})]

    def charged(self, space: ToySpace, architecture: ArchitectureSpec) -> list[OperatorSpec]:
        return list(space.architecture_operators(architecture))[: 1 + len(EDGES) + CELLS]


class FasterSegSuite(SpaceSuite):
    def architectures(self, space: FasterSegSpace, choices: Probabilities) -> list[ArchitectureSpec]:
        return [self._branch(space, choices, coarseness) for coarseness in range(len(SCALES))]

    def combined(self, architectures: list[ArchitectureSpec]) -> ArchitectureSpec:
        return with_branches(architectures[0], [branch for one in architectures for branch in branches_of(one)])

    def parts(self, alternative: str) -> list[str]:
        return alternative.split(",")

    def charged(self, space: FasterSegSpace, architecture: ArchitectureSpec) -> list[OperatorSpec]:
        stem_and_cells = 3 + len(branches_of(architecture)[0].operators)
        return list(space.architecture_operators(architecture))[:stem_and_cells]

    def test_branches_end_where_the_plan_says(self, space: FasterSegSpace) -> None:
        for seed in SEEDS[:10]:
            architecture = space.sample(np.random.default_rng(seed))
            plan = space.plan(architecture)
            shapes = map_shapes_of(plan, (self.spec.batch, 3, *self.spec.input_size))
            ends = [downsample_rate(self.spec.input_size, shapes[name][2:]) for name in plan.branch_ends]
            assert space.alternative_of(architecture) == ",".join(map(str, ends))

    def _branch(self, space: FasterSegSpace, choices: Probabilities, coarseness: int) -> ArchitectureSpec:
        """The L cells that lead to the end at that scale, read backwards through β; rows as in docs/reference/files.md."""
        last = space.parameters.layers
        levels = [coarseness]
        for layer in reversed(range(1, last)):
            level = levels[0]
            kept = level == 0 or (level != layer and choices.beta[(0, 0, last - 2)[level] + layer - level - 1][1] == 1)
            levels.insert(0, level if kept else level - 1)
        cells = list(enumerate(levels))
        alpha_rows = [(0, last, 2 * last - 1)[level] + layer - level for layer, level in cells]
        gamma_rows = [(0, last - 1, 2 * last - 2)[level] + layer - max(1, level) for layer, level in cells[1:]]
        branch = BranchSpec(
            operators=tuple(OPERATORS[choices.alpha[row].index(1)] for row in alpha_rows),
            scales=tuple(SCALES[level] for level in levels),
            widths=tuple(space.parameters.widths[choices.gamma[row].index(1)] for row in gamma_rows),
        )
        return network(
            branch,
            input_size=space.spec.input_size,
            classes=space.spec.classes,
            batch=space.spec.batch,
            dtype=space.spec.dtype,
            base_channels=space.parameters.base_channels,
            factorised_skips=space.parameters.factorised_skips,
            stem_width=space.parameters.stem_width,
            head_width=space.parameters.head_width,
        )


class TestFasterSeg(FasterSegSuite):
    spec = SpaceSpec(name="fasterseg", input_size=(64, 128))


class TestFasterSegLonger(FasterSegSuite):
    """More layers than the default: its architectures must still lead back to a space that has room for them."""

    spec = SpaceSpec(name="fasterseg", input_size=(32, 64), classes=11, parameters={"layers": 20})


class TestFasterSegOfOneBranch(FasterSegSuite, SmallSpaceSuite):
    """At a size that only the stem's downsampling divides; with the published code's skips."""

    spec = SpaceSpec(
        name="fasterseg",
        input_size=(40, 72),
        classes=3,
        parameters={"layers": 3, "base_channels": 6, "widths": (4, 8), "branches": 1, "factorised_skips": 1},
    )
    spread = 1.3


class TestFasterSegOfThreeBranches(FasterSegSuite, SmallSpaceSuite):
    spec = SpaceSpec(
        name="fasterseg",
        input_size=(40, 72),
        classes=3,
        parameters={"layers": 3, "base_channels": 6, "widths": (4, 8), "branches": 3},
    )
    spread = 1.3


class TestFasterSegOfThreeLayers(FasterSegSuite, SmallSpaceSuite):
    """The fewest layers; β has no row at 1/32. Widths apart from the stem's, the head's and the defaults."""

    spec = SpaceSpec(
        name="fasterseg",
        input_size=(32, 64),
        classes=3,
        batch=2,
        parameters={"layers": 3, "stem_width": 3, "head_width": 5, "widths": (2, 7)},
    )


class TestFasterSegOfFourLayers(FasterSegSuite, SmallSpaceSuite):
    """Half the channels and narrow: the fixed stem and head weigh more, and samples spread less."""

    spec = SpaceSpec(
        name="fasterseg",
        input_size=(64, 32),
        parameters={"layers": 4, "base_channels": 6, "widths": (4, 8)},
    )
    spread = 1.3
