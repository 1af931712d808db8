"""Operators of several sources as specs: what is refused, what they are called, and that other operators keep their keys."""

from __future__ import annotations

from typing import Any

import pytest

from models.operators.costs import operator_costs
from models.spec.base import digest
from models.spec.errors import InvalidSpecError, WorkloadTooLargeError
from models.spec.graphs import ContextBase
from models.spec.operators import OperatorSpec


def join(kind: str, channels: int, **attributes: Any) -> OperatorSpec:
    size = {"height": 32, "width": 64}
    return OperatorSpec.parse(
        {"kind": kind, "in_channels": channels, "out_channels": channels, "attributes": attributes, **size}
    )


@pytest.mark.parametrize(
    ("operator", "label", "sources"),
    [
        (join("concat", 96, sources="64+32"), "concat 64+32→96 @32×64", ((1, 64, 32, 64), (1, 32, 32, 64))),
        (join("add", 8, sources=3), "add 8+8+8→8 @32×64", ((1, 8, 32, 64),) * 3),
        (join("scale", 8), "scale 8→8 @32×64", ((1, 8, 32, 64), (1, 8, 1, 1))),
        (join("scale", 8, gate="pixel"), "scale 8→8 @32×64 gate=pixel", ((1, 8, 32, 64), (1, 1, 32, 64))),
        (join("resize", 8, to_height=16, to_width=33), "resize 8→8 @32×64→16×33", ((1, 8, 32, 64),)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_sources_follow_from_the_spec(operator: OperatorSpec, label: str, sources: tuple[tuple[int, ...], ...]) -> None:
    assert operator.label() == label
    assert operator.source_shapes == sources
    assert OperatorSpec.parse_json(operator.model_dump_json()).key() == operator.key()
    shape = (operator.in_channels, operator.out_channels, operator.height, operator.width)
    assert list(operator.identities([shape])) == [(operator.key(), label)]


@pytest.mark.parametrize(
    ("kind", "attributes", "said"),
    [
        ("concat", {}, "'sources' of kind 'concat' is ''"),
        ("concat", {"sources": "96"}, "'sources' of kind 'concat' is '96'"),
        ("concat", {"sources": "064+32"}, "'064\\+32'"),
        ("concat", {"sources": "+".join(["1"] * 79 + ["17"])}, "2 to 16 sources"),
        ("concat", {"sources": "64+64"}, "128 channels in all, but in_channels is 96"),
        ("add", {"sources": 17}, "between 2 and 16, not 17"),
        ("scale", {"gate": "row"}, "'gate' of kind 'scale' must be one of"),
        ("resize", {"to_height": 4}, "'to_height' and 'to_width' of kind 'resize' are 4 and 0"),
    ],
)
def test_sources_that_are_none(kind: str, attributes: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidSpecError, match=said):
        join(kind, 96, **attributes)


def test_all_sources_count_for_the_limit() -> None:
    """One map of these fits; sixteen do not."""
    fields = {"kind": "add", "in_channels": 256, "out_channels": 256, "height": 1024, "width": 1024}
    OperatorSpec.parse({**fields, "attributes": {"sources": 2}})
    with pytest.raises(WorkloadTooLargeError, match="memory"):
        OperatorSpec.parse({**fields, "attributes": {"sources": 16}})


def test_joins_cost_what_their_elements_do() -> None:
    assert operator_costs(join("concat", 96, sources="64+32")).macs == 0
    assert operator_costs(join("add", 8)).macs == 0
    assert operator_costs(join("scale", 8)).macs == 8 * 32 * 64
    assert operator_costs(join("resize", 8, to_height=16, to_width=33)).macs == 4 * 8 * 16 * 33


def test_operators_and_bases_of_one_source_keep_their_keys() -> None:
    """A changed key would orphan every entry that is kept under the old one."""
    plain = OperatorSpec(kind="conv3x3", in_channels=8, out_channels=16, height=32, width=64, stride=2)
    assert plain.key() == "1566e2db8173a1e7"
    base = {"channels": 8, "height": 32, "width": 64, "batch": 1, "dtype": "float32"}
    assert ContextBase.of(plain).key() == digest("context_base", base)
