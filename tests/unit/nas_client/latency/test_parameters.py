"""Parameter files, and everything that can be wrong with one."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from models.spaces.base import SearchSpace
from models.spaces.registry import create_space
from models.spec.architectures import SpaceSpec
from nas_client.errors import ParameterError
from nas_client.latency.parameters import ArchitectureParameters
from tests.support.toy_space import ToySpace

SHAPES = {"alpha": {"8": (3, 2), "16": (2, 3)}, "beta": {"16": (1, 2)}, "gamma": {}}


def document() -> dict[str, Any]:
    return {"alpha": {"8": [[0, 1], [2, 3], [4, 5]], "16": [[6, 7, 8], [9, 10, 11]]}, "beta": {"16": [[-1, 1.5]]}}


def test_groups_lie_below_each_other_in_the_spaces_order() -> None:
    given = document()
    given["alpha"] = dict(reversed(given["alpha"].items()))  # the file's own order means nothing
    parameters = ArchitectureParameters.from_json(given, SHAPES, dtype=torch.float64)
    assert parameters.alpha.tolist() == [[0, 1, 0], [2, 3, 0], [4, 5, 0], [6, 7, 8], [9, 10, 11]]
    assert parameters.group("alpha", "16").tolist() == given["alpha"]["16"]
    assert parameters.alpha.dtype == parameters.gamma.dtype == torch.float64
    assert tuple(parameters.gamma.shape) == (0, 1)


def test_a_parameter_file_survives_writing_and_reading() -> None:
    given = document() | {"gamma": {}}
    written = ArchitectureParameters.from_json(given, SHAPES).to_json()
    assert json.loads(json.dumps(written)) == given


def test_the_published_layout_is_accepted() -> None:
    """The shapes of FasterSeg's own checkpoints, L = 16."""
    shapes = create_space(SpaceSpec(name="fasterseg", input_size=(1024, 2048))).parameter_shapes()
    given = {
        "alpha": {"8": 16, "16": 15, "32": 14},
        "beta": {"16": 14, "32": 13},
        "gamma": {"8": 15, "16": 15, "32": 14},
    }
    choices = {"alpha": 5, "beta": 2, "gamma": 5}
    data = {name: {g: [[1e-3] * choices[name]] * rows for g, rows in groups.items()} for name, groups in given.items()}
    parameters = ArchitectureParameters.from_json(data, shapes)
    assert [tuple(tensor.shape) for tensor in parameters.tensors()] == [(45, 5), (27, 2), (44, 5)]


def test_only_granularities_that_the_space_has_are_for_the_optimiser() -> None:
    shapes = ToySpace.defaults().parameter_shapes()
    parameters = ArchitectureParameters.zeros(shapes).requires_grad_()
    assert [tensor.shape for tensor in parameters.tensors()] == [(6, 3)]
    assert all(tensor.requires_grad for tensor in parameters.tensors())
    assert ArchitectureParameters.from_json({"alpha": {"0": [[0] * 3] * 3, "1": [[0] * 3] * 3}}, shapes).alpha.sum() == 0


def test_gradients_reach_the_groups_they_were_joined_from() -> None:
    groups = {
        name: {group: torch.ones(shape, requires_grad=True) for group, shape in named.items()} for name, named in SHAPES.items()
    }
    ArchitectureParameters.from_groups(SHAPES, groups).alpha.pow(2).sum().backward()
    assert groups["alpha"]["8"].grad is not None
    assert groups["alpha"]["8"].grad.tolist() == [[2.0, 2.0]] * 3


def test_one_hot_logits_leave_nothing_to_the_other_choices() -> None:
    for dtype in (torch.float32, torch.float64):
        chosen = {"alpha": torch.tensor([0, 1, 0, 2, 1])}
        parameters = ArchitectureParameters.one_hot(SHAPES, chosen, dtype=dtype)
        assert torch.softmax(parameters.group("alpha", "16"), 1).tolist() == [[0, 0, 1], [0, 1, 0]]
        assert torch.softmax(parameters.group("beta", "16"), 1).tolist() == [[0.5, 0.5]]


def changed(path: tuple[str | int, ...], value: object) -> dict[str, Any]:
    """The document with one place overwritten."""
    result = document()
    place: Any = result
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return result


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (changed(("alpha", "8"), [[0, 1]] * 4), r"alpha of group '8' has shape 4×2; 3×2 is expected"),
        (changed(("alpha", "16"), [[0, 1]] * 2), r"alpha of group '16' has shape 2×2; 2×3 is expected"),
        (changed(("beta", "16"), [0, 1]), r"beta of group '16' has shape 2; 1×2 is expected"),
        (changed(("beta", "16"), 7), r"beta of group '16' has shape \(\); 1×2 is expected"),
        (changed(("alpha", "8", 1), [2]), r"alpha of group '8' is no rectangle of numbers .*; shape 3×2 is expected"),
        (changed(("alpha", "8", 1, 0), "x"), r"alpha of group '8' is no rectangle of numbers"),
        (changed(("alpha", "8", 1, 0), None), r"alpha of group '8' is no rectangle of numbers"),
        (changed(("alpha", "8", 1, 0), {}), r"alpha of group '8' is no rectangle of numbers"),
        (changed(("alpha", "8", 1, 0), 10**400), r"alpha of group '8' is no rectangle of numbers"),
        (changed(("alpha", "8", 2, 1), float("nan")), r"alpha of group '8' is nan in row 2, choice 1"),
        (changed(("alpha", "16", 1, 0), float("inf")), r"alpha of group '16' is inf in row 1, choice 0"),
        (changed(("beta", "16", 0, 1), float("-inf")), r"beta of group '16' is -inf in row 0, choice 1"),
        (changed(("beta", "16", 0, 1), 1e300), r"beta of group '16' is inf in row 0, choice 1"),  # too large for float32
        (changed(("alpha", "32"), [[0, 1]]), r"unknown group of alpha '32'"),
        (changed(("delta",), {}), r"unknown granularity 'delta'"),
        (changed(("alpha",), {"8": document()["alpha"]["8"]}), r"group of alpha '16' is missing"),
        ({"alpha": document()["alpha"]}, r"granularity 'beta' is missing"),
        (changed(("beta",), [1, 2]), r"beta must be an object of named values, not list"),
        ([1, 2], r"document must be an object of named values, not list"),
        (changed(("gamma",), {"8": [[0, 1]]}), r"unknown group of gamma '8'"),
    ],
)
def test_bad_documents_are_refused_by_place(data: object, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        ArchitectureParameters.from_json(data, SHAPES, dtype=torch.float32)


def test_stacked_logits_of_another_shape_are_refused(small_space: SearchSpace) -> None:
    good = ArchitectureParameters.zeros(small_space.parameter_shapes())
    with pytest.raises(ParameterError, match="beta has shape 3×3; 3×2 is expected"):
        ArchitectureParameters(good.shapes, good.alpha, torch.zeros(3, 3), good.gamma)
