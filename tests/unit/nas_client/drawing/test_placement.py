"""Where the steps of a network stand: cells by layer and scale, shared ones once, nothing on top of anything else."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.spaces.base import SearchSpace
from models.spaces.registry import create_space, space_class, space_names, space_of
from models.spec.architectures import ArchitectureSpec, SpaceSpec
from models.spec.errors import InvalidSpecError
from nas_client.drawing.placement import Place, Placement, place, sources
from tests.support.reference import reference_file
from tests.support.toy_space import ToySpace


def architecture(*branches: dict[str, Any]) -> ArchitectureSpec:
    return ArchitectureSpec.parse({"space": "fasterseg", "input_size": (64, 128), "branches": branches})


@cache
def space(layers: int) -> SearchSpace:
    return create_space(SpaceSpec(name="fasterseg", input_size=(32, 64), parameters={"layers": layers}))


def branch(scales: list[int], widths: list[int], kind: str = "conv3x3") -> dict[str, Any]:
    return {"operators": [kind] * len(scales), "scales": scales, "widths": widths}


def cells(placement: Placement) -> list[Place]:
    return [p for p in placement.places.values() if p.step.cell is not None]


def test_the_published_student_shares_its_first_three_cells() -> None:
    student = ArchitectureSpec.parse_json(reference_file("fasterseg/student.json").read_text())
    placement = place(student)
    assert placement.scales == (8, 16, 32)
    assert (placement.stem, placement.layers) == (3, 10)
    by_layer = [sum(p.column == placement.stem + layer for p in cells(placement)) for layer in range(10)]
    assert by_layer == [1, 1, 1, 2, 2, 2, 2, 2, 2, 1]
    coarsest = [p.column - placement.stem for p in cells(placement) if p.scale == 32]
    assert coarsest == [8, 9]


def test_a_single_branch_stands_in_one_lane() -> None:
    placement = place(architecture(branch([8, 8, 8], [4, 12])))
    assert placement.lanes == {8: 1}
    assert [p.fullness for p in cells(placement)] == pytest.approx([4 / 12, 1, 8 / 12])  # the head takes 8 of 12


def test_the_head_stands_right_of_the_longest_branch() -> None:
    placement = place(architecture(branch([8, 8], [4]), branch([8, 16, 16, 16, 16], [6, 4, 4, 4])))
    last = max(p.column for p in cells(placement))
    others = [p.column for p in placement.places.values() if p not in cells(placement)]
    assert sorted(others)[: placement.stem] == list(range(placement.stem))
    assert min(sorted(others)[placement.stem :]) == last + 1 == placement.stem + placement.layers


@settings(max_examples=30)
@given(st.integers(0, 2**32), st.sampled_from([3, 5, 12]))
def test_nothing_hides_anything_else(seed: int, layers: int) -> None:
    _require_in_view(place(space(layers).sample(np.random.default_rng(seed))))


def _require_in_view(placement: Placement) -> None:
    """No two steps in one place, no line through a step, nothing beyond the picture's border."""
    taken = [(p.scale, p.lane, p.column) for p in placement.places.values()]
    assert len(set(taken)) == len(taken)
    assert all(p.lane < placement.lanes[p.scale] for p in placement.places.values())
    assert max(p.column for p in placement.places.values()) < placement.stem + placement.layers + placement.head
    for connection in placement.connections:
        assert connection.source.column < connection.destination.column
        between = range(connection.source.column + 1, connection.destination.column)
        assert {(connection.scale, connection.lane, column) for column in between}.isdisjoint(taken)


def test_all_steps_of_the_plan_stand_somewhere_and_are_connected() -> None:
    drawn = architecture(branch([8, 8, 16], [4, 4]), branch([8, 16, 32], [4, 6], "skip"))
    placement = place(drawn)
    plan = space_of(drawn).plan(drawn)
    assert [p.step for p in placement.places.values()] == list(plan.steps)
    assert len(placement.connections) == sum(len(list(sources(step))) for step in plan.steps)
    reached = {connection.destination.step.name for connection in placement.connections}
    assert {step.name for step in plan.steps} - reached == {"stem0"}


def test_without_cells_a_column_is_how_deep_a_step_lies_and_a_row_its_own_rate() -> None:
    toy = ToySpace.from_spec(SpaceSpec(name="toy_dag", input_size=(32, 64))).sample(np.random.default_rng(0))
    placement = place(toy)
    assert (placement.stem, placement.head, placement.scales) == (0, 0, (1, 2))
    assert placement.layers == 1 + max(standing.column for standing in placement.places.values())
    _require_in_view(placement)


@pytest.mark.parametrize("name", space_names())
def test_a_network_of_every_space_has_its_place(name: str) -> None:
    found = space_class(name).defaults().sample(np.random.default_rng(0))
    placement = place(found)
    assert len(placement.places) == len(space_of(found).plan(found).steps)
    _require_in_view(placement)


def test_what_is_no_architecture_of_the_space_is_refused() -> None:
    wrong = ArchitectureSpec(
        space="fasterseg", input_size=(64, 128), genotype={"branches": [{"operators": ["conv3x3"], "scales": [16]}]}
    )
    with pytest.raises(InvalidSpecError, match=r"scales\.0: 16"):
        place(wrong)
