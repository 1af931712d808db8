"""Random FasterSeg architectures: what they reach, and what they leave out."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from models.spaces.fasterseg.architectures import minimum_cells
from models.spaces.fasterseg.parameters import OPERATORS
from models.spaces.fasterseg.space import FasterSegSpace
from models.spec.architectures import ArchitectureSpec, SpaceSpec
from tests.support.fasterseg_networks import branches_of

SPACE = FasterSegSpace.from_spec(SpaceSpec(name="fasterseg", input_size=(128, 256), classes=11))


@pytest.fixture(scope="module")
def samples() -> list[ArchitectureSpec]:
    return [SPACE.sample(np.random.default_rng(seed)) for seed in range(400)]


def test_every_pair_of_final_scales_occurs_about_as_often(samples: list[ArchitectureSpec]) -> None:
    pairs = Counter(tuple(branch.scales[-1] for branch in branches_of(sample)) for sample in samples)
    assert set(pairs) == {(8, 16), (8, 32), (16, 32)}
    assert min(pairs.values()) > 400 / 3 * 0.7


def test_every_operator_width_depth_and_downsampling_position_occurs(samples: list[ArchitectureSpec]) -> None:
    branches = [branch for sample in samples for branch in branches_of(sample)]
    assert {kind for branch in branches for kind in branch.operators} == set(OPERATORS)
    assert {width for branch in branches for width in branch.widths} == {4, 6, 8, 10, 12}
    assert {len(b.operators) for b in branches if b.scales[-1] == 8} == set(range(5, 17))
    assert {len(b.operators) for b in branches if b.scales[-1] == 32} == set(range(9, 17))
    assert {b.scales.index(16) for b in branches if b.scales[-1] == 16} == set(range(1, 16))


def test_samples_take_the_students_stem_and_head(samples: list[ArchitectureSpec]) -> None:
    for sample in samples:
        assert (sample.parameters["stem_width"], sample.parameters["head_width"], sample.classes) == (8, 8, 11)


def test_branches_share_cells_up_to_where_they_part(samples: list[ArchitectureSpec]) -> None:
    """As in decoded architectures, both branches have the same operator and width at the same place of the supernet."""
    for sample in samples[:50]:
        one, other = branches_of(sample)
        for place in zip(one.operators, one.scales, other.operators, other.scales, strict=False):
            if place[1] == place[3]:
                assert place[0] == place[2]
    shared = [
        sum(len(branch.operators) for branch in branches_of(sample))
        - sum("cell" in step.name for step in SPACE.plan(sample).steps)
        for sample in samples
    ]
    assert np.mean(shared) > 1


@pytest.mark.parametrize(("layers", "fewest"), [(16, (5, 7, 9)), (3, (1, 3, 3)), (4, (1, 3, 4)), (12, (4, 6, 8))])
def test_the_fewest_cells_of_a_branch(layers: int, fewest: tuple[int, int, int]) -> None:
    assert tuple(minimum_cells(layers, coarseness) for coarseness in range(3)) == fewest
