"""An operator that is read from its label is the operator; what is none is refused by name."""

from __future__ import annotations

import pytest

from models.spaces.registry import create_space
from models.spec.architectures import SpaceSpec
from models.spec.errors import InvalidSpecError
from models.spec.operator_labels import is_label, parse_label
from models.spec.operators import OperatorSpec


def test_every_operator_of_a_grid_is_read_from_its_label() -> None:
    for operator in create_space(SpaceSpec(name="fasterseg", input_size=(64, 128), batch=2)).operators():
        assert parse_label(operator.label()) == operator
        assert is_label(operator.label())


def test_it_may_be_typed_without_arrows_and_crosses() -> None:
    typed = parse_label(" conv_bn_relu 8->16 @32x64 /2 kernel=5 dtype=float16 batch=3")
    assert typed == OperatorSpec(
        kind="conv_bn_relu", in_channels=8, out_channels=16, height=32, width=64, stride=2, batch=3, dtype="float16",
        attributes={"kernel": 5},
    )  # fmt: skip
    assert parse_label("resize 8→8 @4×8→8×16 align_corners=False").attributes["align_corners"] is False


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("conv3x3 8→16 @32", "is not KIND IN→OUT @HEIGHT×WIDTH"),
        ("8→16 @32×64 /1", "is not KIND"),
        ("conv3x4 8→16 @32×64 /1", "unknown operator kind 'conv3x4'"),
        ("conv3x3 8→16 @32×64 /3", "stride 3 is not one of 1, 2"),
        ("conv3x3 8→16 @32×64 /1 kernel=5", "unknown attribute of kind 'conv3x3' 'kernel'"),
        ("conv_bn_relu 8→16 @32×64 /1 kernel=wide", "'kernel' of kind 'conv_bn_relu' must be int, not 'wide'"),
        ("conv_bn_relu 8→16 @32×64 /1 dtype=int8", "unknown dtype 'int8'"),
        ("conv_bn_relu 8→16 @32×64 /1 batch=many", "batch"),
        ("conv3x3 8+8→16 @32×64 /1", "takes a single map, not 8+8 channels"),
        ("add 8+16→16 @32×64", "takes maps of the same channels, not 8+16"),
        ("conv3x3 8→0 @32×64 /1", "out_channels"),
    ],
)
def test_what_is_no_operator_is_refused(text: str, said: str) -> None:
    with pytest.raises(InvalidSpecError, match="operator") as caught:
        parse_label(text)
    assert said in str(caught.value)


@pytest.mark.parametrize("text", ["net.onnx", "package.module:Net", "models/a@b.onnx", "net 8→16.onnx"])
def test_names_of_networks_are_no_labels(text: str) -> None:
    assert not is_label(text)
