"""Each rule by which a FasterSeg architecture is read off α, β and γ, on probabilities made by hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from models.spaces.decoding import DecodeOptions
from models.spaces.fasterseg.decoding import even_beta
from models.spaces.fasterseg.genotype import BranchSpec
from models.spaces.fasterseg.parameters import OPERATORS
from models.spaces.fasterseg.space import FasterSegSpace
from models.spec.architectures import SpaceSpec
from models.spec.errors import InvalidSpecError
from tests.support.fasterseg_networks import branches_of, label

FIRST_LAYERS = {"alpha": {8: 0, 16: 1, 32: 2}, "beta": {16: 2, 32: 3}, "gamma": {8: 1, 16: 1, 32: 2}}
WIDTHS = (4, 6, 8, 10, 12)
CHOICES = {"alpha": OPERATORS, "beta": ("finer", "kept"), "gamma": WIDTHS}
LAYERS = 9

Place = tuple[int, int]
"""(layer, scale)."""


def space(layers: int = LAYERS) -> FasterSegSpace:
    return FasterSegSpace.from_spec(SpaceSpec(name="fasterseg", input_size=(64, 128), parameters={"layers": layers}))


def probabilities(
    layers: int = LAYERS,
    *,
    skips: Mapping[Place, float] | None = None,
    downs: Mapping[Place, float] | None = None,
    down: float = 0.1,
    **favourites: Mapping[Place, Any],
) -> dict[str, dict[str, np.ndarray]]:
    """A favourite of 0.6 in each row of α and γ, by default 3×3 convolutions of width 8, and β0 = `down`.

    Args:
        layers: of the space.
        skips: probability of skip at these places, where the favourite, by default conv3x3_x2, comes second.
        downs: β0 at these places.
        down: β0 at all others.
        favourites: `alpha` and `gamma`: other favourites at these places.
    """
    made: dict[str, dict[str, np.ndarray]] = {}
    for name, firsts in FIRST_LAYERS.items():
        count = len(CHOICES[name])
        made[name] = {str(scale): np.full((layers - first, count), 0.4 / (count - 1)) for scale, first in firsts.items()}
        for scale, first in firsts.items():
            for layer in range(first, layers):
                row = made[name][str(scale)][layer - first]
                place = (layer, scale)
                if name == "beta":
                    row[:] = _pair((downs or {}).get(place, down))
                elif name == "alpha" and place in (skips or {}):
                    row[:] = _skip((skips or {})[place], favourites.get("alpha", {}).get(place, "conv3x3_x2"))
                else:
                    favourite = favourites.get(name, {}).get(place, {"alpha": "conv3x3", "gamma": 8}[name])
                    row[CHOICES[name].index(favourite)] = 0.6
    return made


def _pair(first: float) -> list[float]:
    return [first, 1 - first]


def _skip(probability: float, second: str) -> list[float]:
    rest = (1 - probability) / 10
    return [probability, *(7 * rest if kind == second else rest for kind in OPERATORS[1:])]


def decoded(end: int, layers: int = LAYERS, *, keep_skips: bool = False, **made: Any) -> BranchSpec:
    options = DecodeOptions(exact=keep_skips)
    (branch,) = branches_of(space(layers).decode(probabilities(layers, **made), alternative=str(end), options=options))
    return branch


def test_operators_and_widths_are_the_most_probable() -> None:
    alpha = {(3, 8): "zoomed_conv3x3", (5, 8): "conv3x3_x2", (5, 16): "zoomed_conv3x3_x2"}
    found = decoded(8, alpha=alpha, gamma={(1, 8): 4, (8, 8): 12, (4, 16): 6})
    assert found.operators == (*["conv3x3"] * 3, "zoomed_conv3x3", "conv3x3", "conv3x3_x2", *["conv3x3"] * 3)
    assert found.scales == (8,) * LAYERS
    assert found.widths == (4, *[8] * 6, 12)


def test_operators_and_widths_are_those_of_the_scale_that_the_branch_is_at() -> None:
    """Layer 4 enters 1/16: cell 3 leaves 1/8, and the map between them is one of 1/16."""
    alpha = {(3, 8): "zoomed_conv3x3", (4, 16): "conv3x3_x2", (3, 16): "zoomed_conv3x3_x2", (4, 8): "zoomed_conv3x3_x2"}
    found = decoded(16, downs={(4, 16): 0.7}, alpha=alpha, gamma={(3, 8): 4, (4, 16): 12, (4, 8): 6})
    assert found.scales == (8, 8, 8, 8, 16, 16, 16, 16, 16)
    assert found.operators == (*["conv3x3"] * 3, "zoomed_conv3x3", "conv3x3_x2", *["conv3x3"] * 4)
    assert found.widths == (8, 8, 4, 12, 8, 8, 8, 8)


@pytest.mark.parametrize("layer", range(2, LAYERS))
def test_one_downsampling_is_where_its_path_is_most_probable(layer: int) -> None:
    found = decoded(16, down=0.01, downs={(layer, 16): 0.6})
    assert found.scales == (8,) * layer + (16,) * (LAYERS - layer)


def test_a_later_place_that_beta_passes_by_takes_its_share() -> None:
    """Read backwards: 0.4 at layer 7, 0.6 · 0.6 at layer 3, although its own β0 is the larger."""
    assert decoded(16, down=0.0, downs={(7, 16): 0.4, (3, 16): 0.6}).scales.index(16) == 7


def test_two_downsamplings_are_where_the_path_is_most_probable() -> None:
    """Each on its own would be at layers 6 and 5, the wrong way round; 1/32 at 5 and 1/16 at 3 has 0.6 · 0.8 or nearly."""
    found = decoded(32, down=0.01, downs={(6, 16): 0.9, (3, 16): 0.6, (5, 32): 0.8, (7, 32): 0.3})
    assert found.scales == (8, 8, 8, 16, 16, 32, 32, 32, 32)


def test_two_downsamplings_may_follow_each_other() -> None:
    assert decoded(32, down=0.01, downs={(2, 16): 0.9, (3, 32): 0.9}).scales == (8, 8, 16, *[32] * 6)


def test_the_first_place_has_what_all_others_leave() -> None:
    """β has no say at layer 1 of scale 16 and layer 2 of scale 32, which only one cell leads to."""
    assert decoded(16, down=0.05).scales == (8, *[16] * 8)
    assert decoded(32, down=0.05).scales == (8, 16, *[32] * 7)
    assert decoded(32, down=0.05, downs={(5, 32): 0.6}).scales == (8, 16, 16, 16, 16, *[32] * 4)
    assert decoded(16, down=0.3).scales == (*[8] * 8, 16), "0.7⁷ is left for the first place; the last has 0.3"


def test_of_equally_probable_places_the_latest_is_taken() -> None:
    rows = {group: np.exp(rows) for group, rows in even_beta(LAYERS).items()}
    even = {group: row / row.sum(axis=1, keepdims=True) for group, row in rows.items()}
    found = space().decode({**probabilities(), "beta": even}, alternative="16,32")
    assert [branch.scales for branch in branches_of(found)] == [(*[8] * 8, 16), (*[8] * 7, 16, 32)]


def test_the_shortest_space_has_two_ways_to_a_branch() -> None:
    for row, one in (([0.9, 0.1], (8, 8, 16)), ([0.1, 0.9], (8, 16, 16))):
        found = space(3).decode({**probabilities(3), "beta": {"16": np.array([row])}}, alternative="16,32")
        assert [branch.scales for branch in branches_of(found)] == [one, (8, 16, 32)]


def test_skips_are_removed_and_cells_keep_the_width_of_their_own_output() -> None:
    gamma = {(layer, 8): width for layer, width in zip(range(1, 9), (4, 6, 8, 10, 12, 4, 6, 8), strict=True)}
    found = decoded(8, skips={(2, 8): 0.9, (3, 8): 0.9}, gamma=gamma)
    assert found.operators == ("conv3x3",) * 7
    assert found.widths == (4, 6, 12, 4, 6, 8), "cells 0, 1, 4, 5, 6, 7, by the maps that enter the cells after them"


def test_a_skip_at_the_start_or_the_end_takes_its_width_along() -> None:
    gamma = {(layer, 8): width for layer, width in zip(range(1, 9), (4, 6, 8, 10, 12, 4, 6, 8), strict=True)}
    assert decoded(8, skips={(0, 8): 0.9}, gamma=gamma).widths == (6, 8, 10, 12, 4, 6, 8)
    assert decoded(8, skips={(8, 8): 0.9}, gamma=gamma).widths == (4, 6, 8, 10, 12, 4, 6)


def test_the_less_probable_skips_stay_where_too_few_cells_would() -> None:
    """Nine layers at 1/8: three stay, and take their second-best operator."""
    skips = {(layer, 8): 0.9 for layer in range(9)} | {(1, 8): 0.5, (4, 8): 0.7, (7, 8): 0.6}
    gamma = {(2, 8): 4, (5, 8): 6, (8, 8): 10}
    found = decoded(8, skips=skips, gamma=gamma)
    assert found == BranchSpec(operators=("conv3x3_x2",) * 3, scales=(8, 8, 8), widths=(4, 6))


def test_of_equally_probable_skips_the_later_stay() -> None:
    alpha = {(layer, 8): "zoomed_conv3x3" for layer in (6, 7, 8)}
    assert decoded(8, skips={(layer, 8): 0.9 for layer in range(9)}, alpha=alpha).operators == ("zoomed_conv3x3",) * 3


@pytest.mark.parametrize(("layers", "fewest"), [(9, (3, 5, 7)), (16, (5, 7, 9)), (4, (1, 3, 4))])
def test_as_many_cells_stay_as_the_depth_and_the_end_ask_for(layers: int, fewest: tuple[int, int, int]) -> None:
    skips = {(layer, scale): 0.9 for layer in range(layers) for scale in (8, 16, 32)}
    downs = {(2, 16): 0.9, (3, 32): 0.9}
    assert tuple(len(decoded(end, layers, skips=skips, downs=downs).operators) for end in (8, 16, 32)) == fewest


def test_a_stretch_after_the_last_downsampling_keeps_its_least_probable_skip() -> None:
    skips = {(6, 16): 0.9, (7, 16): 0.6, (8, 16): 0.8}
    alpha = {(7, 16): "zoomed_conv3x3"}
    found = decoded(16, downs={(6, 16): 0.9}, skips=skips, alpha=alpha, gamma={(6, 16): 4, (7, 16): 12})
    assert found.scales == (*[8] * 6, 16)
    assert found.operators == (*["conv3x3"] * 6, "zoomed_conv3x3")
    assert found.widths == (*[8] * 5, 4)


def test_a_stretch_between_two_downsamplings_keeps_its_least_probable_skip() -> None:
    """Cell 3 leaves 1/8, cell 6 leaves 1/16; of the two between them one stays."""
    places = {"downs": {(4, 16): 0.9, (7, 32): 0.9}, "skips": {(4, 16): 0.7, (5, 16): 0.8}}
    found = decoded(32, 16, alpha={(4, 16): "zoomed_conv3x3"}, **places)
    assert found.scales == (*[8] * 4, 16, 16, *[32] * 9)
    assert found.operators[4:6] == ("zoomed_conv3x3", "conv3x3")


def test_of_equally_probable_skips_of_a_stretch_the_last_stays() -> None:
    skips = {(layer, 16): 0.8 for layer in (6, 7, 8)}
    found = decoded(16, downs={(6, 16): 0.9}, skips=skips, alpha={(8, 16): "zoomed_conv3x3"})
    assert found.operators[6:] == ("zoomed_conv3x3",)


def test_what_comes_before_the_first_downsampling_may_vanish() -> None:
    found = decoded(16, downs={(3, 16): 0.9}, skips={(0, 8): 0.9, (1, 8): 0.9})
    assert found.scales == (8, *[16] * 6)


def test_a_skip_that_saves_its_stretch_is_not_among_those_that_go() -> None:
    """Five of nine cells may not go. One of cells 6 to 8 stays, although its skip is more probable than others."""
    skips = {(layer, 8): 0.7 for layer in range(5)} | {(6, 16): 0.9, (7, 16): 0.95, (8, 16): 0.99}
    found = decoded(16, downs={(6, 16): 0.9}, skips=skips)
    assert len(found.operators) == 5
    assert found.scales == (8, 8, 8, 8, 16)


def test_where_resolution_changes_a_skip_gives_way_to_the_best_other_operator() -> None:
    found = decoded(16, downs={(4, 16): 0.9}, skips={(3, 8): 0.99})
    assert len(found.operators) == LAYERS
    assert found.operators[3] == "conv3x3_x2"


def test_skips_are_kept_when_asked_for_wherever_they_are() -> None:
    skips = {(2, 8): 0.9, (3, 8): 0.9, **{(layer, 16): 0.9 for layer in range(4, 9)}}
    found = decoded(16, keep_skips=True, downs={(4, 16): 0.9}, skips=skips)
    assert found.operators == ("conv3x3", "conv3x3", *["skip"] * 7)
    assert found.scales == (*[8] * 4, *[16] * 5)


def test_a_teacher_takes_the_widest_everywhere() -> None:
    role = space().role("teacher")
    found = space().decode(probabilities(gamma={(3, 8): 4}), alternative="8,16", role=role)
    assert (found.parameters["stem_width"], found.parameters["head_width"]) == (12, 12)
    assert [branch.widths for branch in branches_of(found)] == [(12,) * 8, (12,) * 8]
    student = space().decode(probabilities(), alternative="8,16")
    assert (student.parameters["stem_width"], student.parameters["head_width"]) == (8, 8)


@pytest.mark.parametrize("ends", [(8,), (16,), (32,), (8, 16), (32, 8), (16, 32), (32, 16, 8)])
def test_any_branches_may_be_asked_for_and_come_from_fine_to_coarse(ends: tuple[int, ...]) -> None:
    found = space().decode(probabilities(), alternative=label(ends))
    assert tuple(branch.scales[-1] for branch in branches_of(found)) == tuple(sorted(ends))
    space().plan(found)


def test_two_branches_are_what_is_chosen_from() -> None:
    assert space().alternatives() == ("8,16", "8,32", "16,32")


@pytest.mark.parametrize("text", ["", "4", "8,8", "8,64", "8;32", "8,", "-8"])
def test_branches_that_there_are_not_are_refused(text: str) -> None:
    with pytest.raises(
        InvalidSpecError, match=rf"branches: {text or 'none given'}; one or more of 8, 16, 32 must be given"
    ) as caught:
        space().decode(probabilities(), alternative=text)
    assert "8,16 or 8,32 or 16,32" in caught.value.hint


def test_the_layers_of_a_network_that_was_decoded_on_another_path_are_found() -> None:
    """As by an earlier release: the same operators and widths, another place of downsampling."""
    alpha = {(layer, 8): kind for layer, kind in zip(range(9), OPERATORS[1:] * 3, strict=False)}
    skips = {(6, 16): 0.9, (2, 8): 0.8}
    before = probabilities(downs={(5, 16): 0.99}, skips=skips, alpha=alpha)
    now = probabilities(downs={(7, 16): 0.99}, skips=skips, alpha=alpha)
    earlier = space().decode(before, alternative="8,16")
    assert earlier != space().decode(now, alternative="8,16")
    layers = space().decoded_layers(before, alternative="8,16")
    assert space().layers_of(now, earlier) == layers == ((0, 1, 3, 4, 5, 6, 7, 8), (0, 1, 3, 4, 5, 7, 8))
    assert space().layers_of(probabilities(alpha={(0, 8): "zoomed_conv3x3"}), earlier) is None
