"""What identifies exported graphs; part of a target, hence readable without torch or onnx."""

from __future__ import annotations

from models.spec.operators import Dtype

EXPORTER_VERSION = 1
"""Raised whenever the same module would be exported as another graph or filled with other weights."""

OPSET = 17
"""Version of ONNX's default operator set in graphs: all that is needed, and what TensorRT 8 on older boxes reads too."""

IR_VERSION = 8
"""Version of the file format: that of `OPSET`, which holds newer operator sets as well."""

BFLOAT16_OPSET = 22
"""The first in which convolution and pooling take bfloat16."""


def opset_of(dtype: Dtype) -> int:
    """The operator set of graphs of that dtype."""
    return BFLOAT16_OPSET if dtype == "bfloat16" else OPSET
