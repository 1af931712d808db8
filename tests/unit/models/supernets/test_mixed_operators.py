"""A slice of a superkernel is the fixed operator of those widths: same output, same gradients, nothing else touched."""

from __future__ import annotations

from typing import cast

import pytest
import torch
from torch import Tensor, nn

from models.operators.layers import build_operator
from models.spec.errors import UnknownNameError
from models.spec.kinds import KINDS, KindInfo, register_kind
from models.spec.operators import OperatorSpec
from models.supernets.mixed_operators import FORMS, MixedOperator, SuperOperator
from models.testing.supernets import disturb

ENTERING, LEAVING = (4, 6, 8), (3, 5, 9)


def _spec(kind: str, stride: int, channels: tuple[int, int] = (8, 9), size: tuple[int, int] = (7, 10)) -> OperatorSpec:
    return OperatorSpec(
        kind=kind, in_channels=channels[0], out_channels=channels[1], height=size[0], width=size[1], stride=stride
    )


def _input(channels: int, size: tuple[int, int] = (7, 10)) -> Tensor:
    return torch.randn(2, channels, *size, generator=torch.Generator().manual_seed(channels))


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("leaving", LEAVING)
@pytest.mark.parametrize("entering", ENTERING)
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kind", FORMS)
def test_a_slice_is_the_fixed_operator(kind: str, stride: int, entering: int, leaving: int, training: bool) -> None:
    """Odd sides, so that rounding counts; no two widths are equal, so that a skip is a convolution on both sides."""
    super_operator = disturb(SuperOperator(_spec(kind, stride), ENTERING, LEAVING)).train(training)
    fixed = build_operator(_spec(kind, stride, (entering, leaving))).train(training)
    super_operator.copy_to(fixed)
    x = _input(entering)
    expected, found = fixed(x), super_operator(x, leaving)
    assert found.shape == expected.shape
    torch.testing.assert_close(found, expected, rtol=0, atol=0)

    expected.square().sum().backward()
    found.square().sum().backward()
    gradient = super_operator.conv1.weight.grad
    assert gradient is not None
    torch.testing.assert_close(gradient[:leaving, :entering], cast("nn.Conv2d", fixed.conv1).weight.grad)
    gradient[:leaving, :entering] = 0
    assert not gradient.any(), "weights outside the slice were used"
    if training:  # the statistics that this pass updated are those of this width
        mean = super_operator.bn1.at(leaving).running_mean
        torch.testing.assert_close(mean, cast("nn.BatchNorm2d", fixed.bn1).running_mean)


def test_other_widths_keep_their_statistics() -> None:
    operator = SuperOperator(_spec("conv3x3_x2", 1), ENTERING, LEAVING)
    before = {name: tensor.clone() for name, tensor in operator.named_buffers()}
    operator(_input(4), 5)
    changed = {name for name, tensor in operator.named_buffers() if not torch.equal(tensor, before[name])}
    assert {name.split(".")[2] for name in changed} == {"5"}
    assert {name.split(".")[0] for name in changed} == {"bn1", "bn2"}


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (16, 8)])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kind", FORMS)
def test_maps_of_any_size(kind: str, stride: int, size: tuple[int, int]) -> None:
    """Unlike fixed operators, whose resizes are static: supernets see crops of several sizes."""
    operator = disturb(SuperOperator(_spec(kind, stride), ENTERING, LEAVING)).eval()
    fixed = build_operator(_spec(kind, stride, (6, 5), size)).eval()
    operator.copy_to(fixed)
    torch.testing.assert_close(operator(_input(6, size), 5), fixed(_input(6, size)), rtol=0, atol=0)


def test_resizing_follows_the_spec() -> None:
    spec = _spec("zoomed_conv3x3", 1, (4, 4)).model_copy(update={"attributes": {"resize": "nearest", "align_corners": False}})
    operator, fixed = SuperOperator(spec, [4], [4]).eval(), build_operator(spec).eval()
    operator.copy_to(fixed)
    torch.testing.assert_close(operator(_input(4), 4), fixed(_input(4)), rtol=0, atol=0)


def test_an_identity_has_nothing_to_copy() -> None:
    SuperOperator(_spec("skip", 1), [4], [4]).copy_to(build_operator(_spec("skip", 1, (4, 4))))


def test_a_mixed_operator_is_the_weighted_sum_of_its_choices() -> None:
    mixed = disturb(MixedOperator([_spec(kind, 2) for kind in FORMS], ENTERING, LEAVING)).eval()
    weights = torch.tensor([0.1, 0.2, 0.3, 0.15, 0.25], requires_grad=True)
    x = _input(6)
    outputs = torch.stack([mixed.choice(kind)(x, 9) for kind in FORMS])
    found = mixed(x, weights, 9)
    torch.testing.assert_close(found, torch.einsum("k,knchw->nchw", weights, outputs))
    (gradient,) = torch.autograd.grad(found.sum(), weights)
    torch.testing.assert_close(gradient, outputs.sum((1, 2, 3, 4)))


def test_a_kind_without_super_form_is_named() -> None:
    with pytest.raises(UnknownNameError, match="conv_bn_relu"):
        SuperOperator(_spec("conv_bn_relu", 1), ENTERING, LEAVING)
    with pytest.raises(UnknownNameError, match="conv3x3"):
        MixedOperator([_spec("skip", 1)], ENTERING, LEAVING).choice("conv3x3")


def test_a_kind_without_super_form_is_the_plain_module_on_an_edge_of_one_width() -> None:
    mixed = disturb(MixedOperator([_spec(kind, 2) for kind in ("skip", "conv_bn_relu")], [8], [9])).eval()
    plain, fixed = mixed.choice("conv_bn_relu"), build_operator(_spec("conv_bn_relu", 2)).eval()
    plain.copy_to(fixed)
    for size in ((7, 10), (4, 4)):
        torch.testing.assert_close(plain(_input(8, size), 9), fixed(_input(8, size)), rtol=0, atol=0)
    with pytest.raises(UnknownNameError, match="'conv_bn_relu' has no form for several widths") as told:
        MixedOperator([_spec("conv_bn_relu", 2)], [8], [5, 9])
    assert "supernet_form" in told.value.hint


class OwnForm(nn.Module):
    """What a plugin would name as the form of its kind."""

    def __init__(self, spec: OperatorSpec, in_channels: set[int], out_channels: set[int]) -> None:
        super().__init__()
        self.kind, self.widths = spec.kind, (in_channels, out_channels)


def test_a_kind_names_a_form_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(KINDS, "_loaded", dict(KINDS._loaded))
    monkeypatch.setattr(KINDS, "_registered", dict(KINDS._registered))
    register_kind(KindInfo("formed", builder=f"{__name__}:OwnForm", supernet_form=f"{__name__}:OwnForm"))
    choice = cast("OwnForm", MixedOperator([_spec("formed", 1)], ENTERING, LEAVING).choice("formed"))
    assert type(choice).__name__ == "OwnForm"
    assert choice.widths == (set(ENTERING), set(LEAVING))
