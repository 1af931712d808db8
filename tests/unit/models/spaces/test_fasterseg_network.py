"""Networks of FasterSeg architectures: sharing, head, and every way in which an architecture can be wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from models.networks.structure import NetworkPlan
from models.spaces.fasterseg.space import FasterSegSpace
from models.spaces.registry import create_space, read_architecture, space_of
from models.spec.architectures import ArchitectureSpec, SpaceSpec
from models.spec.errors import InvalidSpecError, UnknownNameError
from tests.support.reference import reference_file

SIZE = (64, 128)
JOINS = ("resize", "concat")


def architecture(*branches: dict[str, Any], **fields: Any) -> ArchitectureSpec:
    return ArchitectureSpec.parse({"space": "fasterseg", "input_size": SIZE, "branches": branches, **fields})


def branch(scales: list[int], widths: list[int], operators: list[str] | None = None) -> dict[str, Any]:
    return {"operators": operators or ["conv3x3"] * len(scales), "scales": scales, "widths": widths}


def planned(*branches: dict[str, Any], **fields: Any) -> NetworkPlan:
    return FasterSegSpace.from_spec(SpaceSpec(name="fasterseg", input_size=SIZE)).plan(architecture(*branches, **fields))


def cells(plan: NetworkPlan) -> list[str]:
    return [step.name for step in plan.steps if "cell" in step.name]


def step(plan: NetworkPlan, name: str) -> Any:
    return next(step for step in plan.steps if step.name == name)


def test_the_published_student_has_28_terms_beside_its_joins_and_shares_three_cells() -> None:
    student = ArchitectureSpec.parse_json(reference_file("fasterseg/student.json").read_text())
    plan = space_of(student).plan(student)
    joins = [operator for operator in plan.operators() if operator.kind in JOINS]
    assert [operator.label() for operator in joins] == [
        "resize 128→128 @32×64→64×128",
        "concat 128+64→192 @64×128",
        "resize 64→64 @64×128→128×256",
        "concat 64+32→96 @128×256",
        "resize 64→64 @64×128→128×256",
        "concat 64+32→96 @128×256",
        "concat 64+64→128 @128×256",
    ]
    operators = [operator for operator in plan.operators() if operator.kind not in JOINS]
    assert len(operators) == 28
    assert [operator.kind for operator in operators[:3]] == ["conv_bn_relu", "conv3x3_x2", "conv3x3_x2"]
    assert len(cells(plan)) == 16
    assert [operator.kind for operator in operators[19:]] == [
        *["conv_bn_relu"] * 6,
        "feature_fusion",
        "segmentation_head",
        "upsample",
    ]


def test_a_branch_at_the_finest_scale_needs_no_aggregation() -> None:
    plan = planned(branch([8, 8], [6]))
    assert [operator.label() for operator in plan.operators()] == [
        "conv_bn_relu 3→32 @64×128 /2",
        "conv3x3_x2 32→64 @32×64 /2",
        "conv3x3_x2 64→64 @16×32 /2",
        "conv3x3 64→48 @8×16 /1",
        "conv3x3 48→64 @8×16 /1",
        "feature_fusion 64→64 @8×16 /1",
        "segmentation_head 64→19 @8×16 /1",
        "upsample 19→19 @8×16 /1",
    ]


def test_the_way_back_concatenates_what_entered_the_cell_that_left_the_scale() -> None:
    plan = planned(branch([8, 8, 16, 16, 32], [4, 10, 12, 6]))
    assert step(plan, "branch0_resize16").sources == ("branch0_reduce16",)
    assert step(plan, "branch0_resize16").operator.label() == "resize 128→128 @2×4→4×8"
    assert step(plan, "branch0_join16").sources == ("branch0_resize16", "branch0_cell2")
    assert step(plan, "branch0_join16").operator.label() == "concat 128+192→320 @4×8"
    assert step(plan, "branch0_refine16").operator.label() == "conv_bn_relu 320→128 @4×8 /1"  # 128 + 16 · 12
    assert step(plan, "branch0_join8").sources == ("branch0_resize8", "branch0_cell0")
    assert step(plan, "branch0_refine8").operator.label() == "conv_bn_relu 96→64 @8×16 /1"  # 64 + 8 · 4
    assert step(plan, "branch0_join8").operator.output_shape[2:] == (8, 16)


def test_a_branch_that_leaves_at_once_concatenates_the_stems_output() -> None:
    plan = planned(branch([8, 16], [12]))
    assert step(plan, "branch0_join8").sources == ("branch0_resize8", "stem2")


def test_branches_share_cells_until_they_differ_in_any_respect() -> None:
    """Same operators and scales throughout: the second width parts them, and what is equal again later is not shared."""
    one = branch([8, 8, 8, 8], [4, 4, 8])
    other = branch([8, 8, 8, 8, 16], [4, 6, 8, 4])
    plan = planned(one, other)
    assert cells(plan) == [
        *(f"branch0_cell{i}" for i in range(4)),
        *(f"branch1_cell{i}" for i in range(1, 5)),
    ]
    assert step(plan, "branch1_cell1").sources == ("branch0_cell0",)


def test_the_cell_that_downsamples_is_not_shared_with_one_that_does_not() -> None:
    plan = planned(branch([8, 8, 8], [4, 4]), branch([8, 8, 16], [4, 4]))
    assert cells(plan) == ["branch0_cell0", "branch0_cell1", "branch0_cell2", "branch1_cell1", "branch1_cell2"]


def test_three_branches_share_as_a_tree() -> None:
    """The third parts from the first at once, and from the second two cells later."""
    first = branch([8, 8], [4])
    second = branch([8, 8, 16, 16], [6, 4, 4])
    third = branch([8, 8, 16, 16, 32], [6, 4, 4, 4])
    plan = planned(first, second, third)
    assert [name for name in cells(plan) if name.startswith("branch2")] == ["branch2_cell3", "branch2_cell4"]
    assert step(plan, "branch2_cell3").sources == ("branch1_cell2",)


def test_the_last_cell_is_shared_only_where_both_branches_end() -> None:
    """A branch's last cell leads to the head's width, whatever follows the same cell in a longer branch."""
    plan = planned(branch([8], []), branch([8, 16], [8]))
    assert cells(plan) == ["branch0_cell0", "branch1_cell0", "branch1_cell1"]


def test_the_first_version_of_the_grid_has_the_same_networks_and_charges_no_joins() -> None:
    """Tables of that version stay in use, and a network's measured latency is one for both."""
    present = FasterSegSpace.from_spec(SpaceSpec(name="fasterseg", input_size=SIZE))
    first = FasterSegSpace.from_spec(SpaceSpec(name="fasterseg", input_size=SIZE, version=1))
    assert present.without_joins().spec == first.spec
    assert first.without_joins() is first
    network = architecture(branch([8, 8, 16, 16, 32], [4, 10, 12, 6]), branch([8, 8, 8], [4, 10]))
    here, there = present.plan(network), first.plan(network)
    assert [(s.name, s.operator, s.sources) for s in here.steps] == [(s.name, s.operator, s.sources) for s in there.steps]
    assert list(there.operators()) == [operator for operator in here.operators() if operator.kind not in JOINS]
    assert set(here.operators()) <= set(present.operators())
    assert set(there.operators()) <= set(first.operators())
    assert "joins" in first.uncharged()
    assert not present.uncharged()


def test_stated_skips_stay() -> None:
    plan = planned(branch([8, 8, 8], [8, 8], ["skip", "skip", "conv3x3"]))
    assert [operator.kind for operator in plan.operators()][3:6] == ["skip", "skip", "conv3x3"]


def test_the_teachers_stem_and_head_are_wider() -> None:
    plan = planned(branch([8, 16], [12]), stem_width=12, head_width=12)
    assert step(plan, "stem2").operator.out_channels == 96
    assert step(plan, "branch0_reduce8").operator.label() == "conv_bn_relu 192→96 @4×8 /1 kernel=1"


def test_widths_left_out_are_the_spaces_own() -> None:
    assert planned(branch([8], [])) == planned(branch([8], []), stem_width=8, head_width=8)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"classes": 20}, "classes: the architecture's is 20, this search space's is 19"),
        ({"batch": 2}, "batch: .* 2, .* 1"),
        ({"dtype": "float16"}, "dtype: .*'float16'.*'float32'"),
        ({"base_channels": 24}, "base_channels: .* 24, .* 12"),
        ({"stem_width": 10}, "stem_width: 10 is not one of 8, 12"),
        ({"head_width": 4}, "head_width: 4 is not one of 8, 12"),
    ],
)
def test_architectures_of_another_space(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidSpecError, match=said):
        planned(branch([8], []), **fields)


@pytest.mark.parametrize(
    ("branches", "said"),
    [
        ([branch([8] * 17, [4] * 16)], r"branches\.0\.operators: 17 cells; .* 16 layers"),
        ([branch([16, 16], [4])], r"branches\.0\.scales\.0: 16 is not one of 8, the first"),
        ([branch([8, 32], [4])], r"branches\.0\.scales\.1: 32 is not one of 8, 16 after 8"),
        ([branch([8, 16, 8], [4, 4])], r"branches\.0\.scales\.2: 8 is not one of 16, 32 after 16"),
        ([branch([8, 16, 32, 64], [4, 4, 4])], r"branches\.0\.scales\.3: 64 is not one of 32 after 32"),
        ([branch([8], []), branch([8, 9], [4])], r"branches\.1\.scales\.1: 9 is not one of 8, 16 after 8"),
        ([branch([8, 8], [5])], r"branches\.0\.widths\.0: 5 is not one of 4, 6, 8, 10, 12"),
        ([{"operators": ["conv3x3"] * 2, "widths": [4]}], r"branches\.0\.scales: none given; 2 are needed"),
        ([{"operators": ["conv3x3"] * 2, "scales": [8, 8]}], r"branches\.0\.widths: none given; 1 are needed"),
        ([branch([8], []), branch([8, 8], [4])], r"branches\.1\.scales: the branch ends at 1/8, where an earlier one ends"),
        ([branch([8], [])] * 4, r"branches: 4 of them; at most 3"),
    ],
)
def test_branches_that_are_none(branches: list[dict[str, Any]], said: str) -> None:
    with pytest.raises(InvalidSpecError, match=said):
        planned(*branches)


def test_an_unknown_operator_is_named_with_its_place() -> None:
    with pytest.raises(UnknownNameError, match=r"branches\.0\.operators\.1: 'conv3x3_2x'") as caught:
        planned(branch([8, 8], [4], ["conv3x3", "conv3x3_2x"]))
    assert "conv3x3_x2" in caught.value.hint


def test_an_operator_of_stems_and_heads_is_none_of_a_cells() -> None:
    with pytest.raises(UnknownNameError, match="conv_bn_relu"):
        planned(branch([8], [], ["conv_bn_relu"]))


def test_an_architecture_brings_the_widths_and_layers_that_it_needs() -> None:
    """`space_of` has no table's space to go by: it makes room for what the architecture states."""
    long = architecture(branch([8] * 20, [3] * 19), stem_width=10)
    space = space_of(long)
    assert space.spec.parameters["layers"] == 20
    assert space.spec.parameters["widths"] == (3, 4, 6, 8, 10, 12)
    assert space.spec.parameters["stem_width"] == 10
    assert len([s for s in space.plan(long).steps if "cell" in s.name]) == 20


@pytest.mark.parametrize(
    "parameters",
    [
        {"base_channels": 4, "widths": (3, 6, 12), "stem_width": 6, "head_width": 6},
        {"base_channels": 1, "widths": (3, 6, 12), "stem_width": 6, "head_width": 6},
        {"base_channels": 3, "widths": tuple(range(20, 36)), "layers": 60},
    ],
    ids=["no_whole_channels", "hardly_any_channels", "as_many_widths_as_may_be"],
)
def test_a_space_whose_widths_do_not_go_with_the_default_ones_has_networks_all_the_same(parameters: dict[str, Any]) -> None:
    space = create_space(SpaceSpec(name="fasterseg", input_size=(64, 64), parameters=parameters))
    sampled = space.sample(np.random.default_rng(1))
    read = read_architecture(sampled.model_dump_json())
    assert space_of(read).plan(read) == space.plan(sampled)
