"""The modules of all kinds have the shapes that their specs state."""

from __future__ import annotations

import pytest
import torch

from models.operators.layers import build_operator
from models.spec.kinds import kind_info, kind_names
from models.spec.operators import OperatorSpec


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (5, 7), (16, 32)])
@pytest.mark.parametrize("kind", kind_names())
def test_the_module_has_the_shapes_that_the_spec_states(kind: str, size: tuple[int, int]) -> None:
    info = kind_info(kind)
    for stride in info.strides:
        for out_channels in (12,) if info.keeps_channels else (4, 12, 20):
            height, width = size
            spec = OperatorSpec(
                kind=kind,
                in_channels=12,
                out_channels=out_channels,
                height=height,
                width=width,
                stride=stride,
                batch=2,
            )
            with torch.device("meta"):
                module = build_operator(spec).eval()
                output = module(torch.empty(spec.input_shape))
            assert tuple(output.shape) == spec.output_shape, spec.label()
