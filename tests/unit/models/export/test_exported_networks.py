"""Whole networks as graphs, joins included."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from models.export.onnx_graph import to_onnx
from models.networks.module import build_module
from models.networks.structure import INPUT, NetworkPlan, OperatorStep
from models.spaces.reference_networks import ReferenceNetworks
from models.spaces.registry import create_space
from models.spec.architectures import ArchitectureSpec, SpaceSpec
from models.spec.graphs import GraphRequest
from models.spec.operators import OperatorSpec

TOLERANCE = 1e-5


@pytest.mark.parametrize("input_size", [(32, 32), (64, 96)])
@pytest.mark.parametrize("seed", range(3))
def test_random_networks_of_fasterseg(seed: int, input_size: tuple[int, int], relative_error: Any) -> None:
    space = create_space(SpaceSpec(name="fasterseg", input_size=input_size))
    architecture = space.sample(np.random.default_rng(seed))
    module = build_module(GraphRequest(subject=architecture), space.plan(architecture))
    assert relative_error(module, architecture.input_shape) <= TOLERANCE


def test_found_and_reference_networks_of_a_u(relative_error: Any) -> None:
    parameters = {"base_channels": 4, "levels": 3, "silu": 1}
    space = create_space(SpaceSpec(name="search_net", input_size=(16, 24), classes=2, parameters=parameters))
    assert isinstance(space, ReferenceNetworks)
    for architecture in (space.sample(np.random.default_rng(0)), *space.references().values()):
        module = build_module(GraphRequest(subject=architecture), space.plan(architecture))
        assert relative_error(module, architecture.input_shape) <= TOLERANCE, architecture.genotype


def _conv(source: str, name: str, in_channels: int, out_channels: int, size: tuple[int, int], stride: int) -> OperatorStep:
    height, width = size
    operator = OperatorSpec(
        kind="conv3x3", in_channels=in_channels, out_channels=out_channels, height=height, width=width, stride=stride
    )
    return OperatorStep(name, operator, source)


def _join(name: str, kind: str, channels: int, given: str, size: tuple[int, int], **attributes: int | str) -> OperatorStep:
    fields = {"in_channels": channels, "out_channels": channels, "height": size[0], "width": size[1]}
    return OperatorStep(name, OperatorSpec.parse({"kind": kind, "attributes": attributes, **fields}), given.split())


def test_every_way_of_joining_maps(relative_error: Any) -> None:
    plan = NetworkPlan(
        (
            _conv(INPUT, "stem", 3, 8, (14, 18), 2),
            _conv("stem", "deep", 8, 8, (7, 9), 2),  # 4×5
            _conv("stem", "edge", 8, 1, (7, 9), 1),
            _join("larger", "resize", 8, "deep", (4, 5), to_height=7, to_width=9),
            _join("sum", "add", 8, "stem larger stem", (7, 9), sources=3),
            _join("gated", "scale", 8, "sum edge", (7, 9), gate="pixel"),
            _join("image", "resize", 3, INPUT, (14, 18), to_height=7, to_width=9, resize="nearest"),
            _join("both", "concat", 11, "image gated", (7, 9), sources="3+8"),
            _conv("both", "classes", 11, 4, (7, 9), 1),
        )
    )
    architecture = ArchitectureSpec(space="any", input_size=(14, 18), genotype={"operators": ["conv3x3"]})
    module = build_module(GraphRequest(subject=architecture), plan)
    assert relative_error(module, architecture.input_shape) <= TOLERANCE
    operations = [node.op_type for node in to_onnx(module, architecture.input_shape, name="test").graph.node]
    assert operations.count("Add") == 2
    assert operations.count("Concat") == 1
    assert operations.count("Mul") == 1
    assert operations.count("Resize") == 2


def test_a_network_fits_a_file() -> None:
    space = create_space(SpaceSpec(name="fasterseg", input_size=(32, 64)))
    architecture = space.sample(np.random.default_rng(5))
    module = build_module(GraphRequest(subject=architecture), space.plan(architecture))
    model = to_onnx(module, architecture.input_shape, name=architecture.key())
    assert onnx.load_from_string(model.SerializeToString()) == model
