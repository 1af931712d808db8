"""Estimates of what engines hold grow with what they must hold."""

from __future__ import annotations

from models.spec.graphs import ContextBase
from models.spec.operators import OperatorSpec
from profiler_service.measure.groups import base_bytes, network_bytes, operator_bytes

SMALL = OperatorSpec(kind="conv3x3", in_channels=32, out_channels=32, height=64, width=128)
LARGE = OperatorSpec(kind="conv3x3", in_channels=96, out_channels=96, height=128, width=256)
MAP_BYTES = 96 * 128 * 256 * 4


def test_an_engine_holds_its_maps_and_weights() -> None:
    assert operator_bytes(LARGE, in_context=False) >= 2 * MAP_BYTES + 9 * 96 * 96 * 4
    assert operator_bytes(LARGE, in_context=True) >= operator_bytes(LARGE, in_context=False) + MAP_BYTES
    assert base_bytes(ContextBase.of(LARGE)) >= MAP_BYTES
    assert operator_bytes(SMALL, in_context=True) < operator_bytes(LARGE, in_context=True) < 8 * MAP_BYTES


def test_a_network_holds_all_weights_but_not_all_maps() -> None:
    one, twenty = network_bytes([LARGE]), network_bytes([LARGE] * 20)
    assert twenty - one >= 19 * 9 * 96 * 96 * 4
    assert twenty < 20 * one / 2
