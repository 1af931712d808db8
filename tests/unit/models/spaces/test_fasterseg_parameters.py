"""What a FasterSeg space may be: every refusal names the field, its value and what is allowed."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from models.spaces.fasterseg.space import FasterSegSpace
from models.spec.architectures import SpaceSpec
from models.spec.errors import InvalidSpecError, UnknownNameError, WorkloadTooLargeError


def settled(input_size: tuple[int, int] = (128, 256), **parameters: Any) -> FasterSegSpace:
    return FasterSegSpace.from_spec(SpaceSpec(name="fasterseg", input_size=input_size, parameters=parameters))


def test_defaults_are_the_papers() -> None:
    assert settled().spec.parameters == {
        "layers": 16,
        "base_channels": 12,
        "stem_width": 8,
        "head_width": 8,
        "widths": (4, 6, 8, 10, 12),
    }


def test_stated_parameters_stay_and_change_the_digest() -> None:
    space = settled(layers=5, widths=(4, 12))
    assert space.spec.parameters == {
        "layers": 5,
        "base_channels": 12,
        "stem_width": 8,
        "head_width": 8,
        "widths": (4, 12),
    }
    assert space.spec.digest() != settled().spec.digest()


def test_what_earlier_releases_did_not_have_is_stated_where_it_is_not_the_default() -> None:
    """Tables and their ids stay, and the grid of another number of branches is the same."""
    assert settled(branches=2, factorised_skips=0).spec == settled().spec
    assert settled().spec.digest() == "d84b1315ceee6a5e"
    one = settled(branches=1)
    assert one.spec.parameters["branches"] == 1
    assert one.spec.digest() != settled().spec.digest()
    assert one.operators() == settled().operators()


def test_factorised_skips_are_other_operators_and_no_others_change() -> None:
    plain, factorised = ({o.key(): o for o in settled(factorised_skips=flag).operators()} for flag in (0, 1))
    changed = [factorised[key] for key in factorised.keys() - plain.keys()]
    assert {(o.kind, o.stride, o.attributes["factorised"]) for o in changed} == {("skip", 2, True)}
    assert len(changed) == len(plain.keys() - factorised.keys()) == 2 * 25
    assert all("factorised" not in o.attributes for o in plain.values())


def test_the_grid_counts_what_the_paper_counts() -> None:
    """5 operators × 25 width pairs × 5 places, stems and heads of student and teacher, fusion of one to three branches.

    Two branches of one width are concatenated as a branch and a skipped map of that width are.
    """
    counts = Counter(operator.kind for operator in settled().operators())
    cells = 5 * 25
    assert counts == {
        "skip": cells,
        "conv3x3": cells,
        "zoomed_conv3x3": cells,
        "conv3x3_x2": cells + 4,
        "zoomed_conv3x3_x2": cells,
        "conv_bn_relu": 2 + 24,
        "feature_fusion": 5,
        "segmentation_head": 5,
        "upsample": 1,
        "resize": 2 * 2,
        "concat": 2 * (2 * 5 + 2) - 2,
    }
    assert sum(counts.values()) == 692


def test_the_first_version_of_the_grid_is_the_present_one_without_its_joins() -> None:
    first = FasterSegSpace.from_spec(SpaceSpec(name="fasterseg", input_size=(128, 256), version=1))
    assert first.operators() == settled().operators()[:666]
    assert first.spec.digest() != settled().spec.digest()


def test_a_stem_width_outside_the_widths_enters_the_first_cells_only() -> None:
    plain, other = settled(), settled(stem_width=9)
    more = {o.key(): o for o in other.operators()}.keys() - {o.key() for o in plain.operators()}
    added = [operator for operator in other.operators() if operator.key() in more]
    assert {operator.in_channels for operator in added if operator.kind == "conv3x3"} == {12 * 8 * 9 // 12}
    assert {operator.height for operator in added if operator.kind == "conv3x3"} == {128 // 8}


@pytest.mark.parametrize(
    ("input_size", "said", "nearest"),
    [
        ((100, 256), "height 100 is not divisible by 8", "96, 104."),
        ((128, 250), "width 250 is not divisible by 8", "248, 256."),
        ((4, 32), "height 4 is not divisible by 8", ": 8."),
    ],
)
def test_sizes_that_do_not_divide(input_size: tuple[int, int], said: str, nearest: str) -> None:
    with pytest.raises(InvalidSpecError, match=said) as caught:
        settled(input_size)
    assert caught.value.hint.endswith(nearest)


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"layers": 0}, r"layers.* 3 .*0"),
        ({"layers": 2}, r"layers.* 3 .*2"),
        ({"layers": 129}, r"layers.*128.*129"),
        ({"layers": (3, 4)}, "layers"),
        ({"widths": (8, 4)}, r"widths.*ascend.*\(8, 4\)"),
        ({"widths": (4, 4, 8)}, r"widths.*ascend.*\(4, 4, 8\)"),
        ({"widths": ()}, "widths"),
        ({"widths": (0, 4)}, r"widths\.0.*greater.*0"),
        ({"widths": (4, 65)}, r"widths\.1.*64.*65"),
        ({"widths": 8}, "widths"),
        ({"stem_width": 0}, r"stem_width.*0"),
        ({"head_width": 65}, r"head_width.*64.*65"),
        ({"base_channels": 0}, r"base_channels.*0"),
        ({"branches": 0}, r"branches.*1.*0"),
        ({"branches": 4}, r"branches.*3.*4"),
        ({"factorised_skips": 2}, r"factorised_skips.*1.*2"),
        ({"base_channels": 16}, r"base_channels 16 at width 8.*divisible by 3"),
    ],
)
def test_parameters_out_of_bounds(parameters: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidSpecError, match=said):
        settled(**parameters)


def test_an_unknown_parameter_is_named_with_the_nearest_known_one() -> None:
    with pytest.raises(UnknownNameError, match="'layer'") as caught:
        settled(layer=3)
    assert "'layers'" in caught.value.hint


def test_a_grid_of_another_release_is_refused() -> None:
    with pytest.raises(InvalidSpecError, match=r"version: 3 .* is none of 1, 2"):
        FasterSegSpace.from_spec(SpaceSpec(name="fasterseg", input_size=(128, 256), version=3))


@pytest.mark.parametrize(
    "spec",
    [
        SpaceSpec(name="fasterseg", input_size=(16384, 16384)),
        SpaceSpec(name="fasterseg", input_size=(1024, 2048), batch=256),
        SpaceSpec(name="fasterseg", input_size=(1024, 2048), classes=4096),
    ],
)
def test_spaces_beyond_the_limits_of_a_workload(spec: SpaceSpec) -> None:
    with pytest.raises(WorkloadTooLargeError, match=f"{spec.input_size[0]}×.*the limit is") as caught:
        FasterSegSpace.from_spec(spec)
    assert caught.value.hint


def test_channels_beyond_the_limits() -> None:
    with pytest.raises(WorkloadTooLargeError, match=r"base channels 510: .*the limit is"):
        settled((32, 32), base_channels=510)
    with pytest.raises(InvalidSpecError, match=r"base channels 16383: .*16384"):
        settled((32, 32), base_channels=16383)
