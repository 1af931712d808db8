"""Networks read off a plan: what is connected to what, and what they cost."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from models.networks.module import build_network, map_shapes, network_costs
from models.networks.structure import INPUT, NetworkPlan, OperatorStep
from models.operators.costs import Costs, module_costs
from models.operators.seeded_weights import fill
from models.spec.operators import OperatorSpec


def _conv(name: str, source: str, in_channels: int, out_channels: int, size: tuple[int, int], stride: int = 1) -> OperatorStep:
    height, width = size
    operator = OperatorSpec(
        kind="conv3x3", in_channels=in_channels, out_channels=out_channels, height=height, width=width, stride=stride
    )
    return OperatorStep(name, operator, source)


def _join(name: str, kind: str, channels: int, given: str, size: tuple[int, int], **attributes: int | str) -> OperatorStep:
    fields = {"in_channels": channels, "out_channels": channels, "height": size[0], "width": size[1]}
    return OperatorStep(name, OperatorSpec.parse({"kind": kind, "attributes": attributes, **fields}), given.split())


def _plan(*more: OperatorStep) -> NetworkPlan:
    stem = _conv("stem", INPUT, 3, 8, (16, 24))
    deep = _conv("deep", "stem", 8, 8, (16, 24), stride=2)
    return NetworkPlan((stem, deep, *more))


def test_a_network_follows_its_plan() -> None:
    plan = _plan(
        _join("large", "resize", 8, "deep", (8, 12), to_height=16, to_width=24),
        _join("sum", "add", 8, "large stem", (16, 24)),
        _join("small", "resize", 8, "sum", (16, 24), to_height=8, to_width=12),
        _join("all", "concat", 16, "small deep", (8, 12), sources="8+8"),
        _conv("classes", "all", 16, 5, (8, 12)),
    )
    network = fill(build_network(plan), "network")
    x = torch.randn(1, 3, 16, 24, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        stem = network.steps["stem"](x)
        deep = network.steps["deep"](stem)
        total = F.interpolate(deep, (16, 24), mode="bilinear", align_corners=True) + stem
        joined = torch.cat([F.interpolate(total, (8, 12), mode="bilinear", align_corners=True), deep], dim=1)
        torch.testing.assert_close(network(x), network.steps["classes"](joined))


def test_the_last_step_is_the_output() -> None:
    plan = _plan()
    with torch.device("meta"):
        output = build_network(plan)(torch.empty(1, 3, 16, 24))
    assert tuple(output.shape) == (1, 8, 8, 12) == map_shapes(plan)["deep"]


def test_costs_of_a_plan_are_those_of_its_network() -> None:
    plan = _plan(
        _join("large", "resize", 8, "deep", (8, 12), to_height=16, to_width=24),
        _join("all", "concat", 16, "stem large", (16, 24), sources="8+8"),
    )
    with torch.device("meta"):
        network = build_network(plan)
    costs = network_costs(plan)
    assert costs == module_costs(network, (1, 3, 16, 24))
    resized = Costs(macs=4 * 8 * 16 * 24)
    assert costs == sum((module_costs(network.steps[name], shape) for name, shape in _CONVOLVED.items()), resized)


_CONVOLVED = {"stem": (1, 3, 16, 24), "deep": (1, 8, 16, 24)}


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (_conv("wrong", "deep", 8, 8, (16, 24)), r"'wrong' takes .*\(1, 8, 16, 24\).*'deep' has \(1, 8, 8, 12\)"),
        (_conv("wrong", INPUT, 8, 8, (16, 24)), r"'wrong' takes .*\(1, 8, 16, 24\).*'input' has \(1, 3, 16, 24\)"),
        (_join("wrong", "add", 8, "input stem", (16, 24)), r"'wrong' takes .*\(1, 8, 16, 24\).*'input' has \(1, 3, 16, 24\)"),
        (_join("wrong", "add", 8, "stem", (16, 24)), r"'wrong' takes 2 maps, but 1 sources are named"),
    ],
)
def test_plans_that_do_not_fit_together_are_refused(step: OperatorStep, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_network(_plan(step))
