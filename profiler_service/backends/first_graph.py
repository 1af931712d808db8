"""A small graph of one convolution, by which a backend that reads ONNX finds out whether its runtime works on a GPU at all.

Made without `models.export.graph_builder`, which needs torch: a process that times must not load that beside another runtime.
"""

from __future__ import annotations

from onnx import TensorProto, helper

from models.spec.graphs import IR_VERSION, OPSET

FIRST_SHAPE = (1, 4, 8, 8)
"""Of its input and output, in float32."""


def first_graph() -> bytes:
    """A 3×3 convolution, which most runtimes leave to their vendor's library; 1×1 is a matrix product."""
    channels = FIRST_SHAPE[1]
    weight = helper.make_tensor("weight", TensorProto.FLOAT, [channels, channels, 3, 3], [0.25] * (9 * channels**2))
    graph = helper.make_graph(
        [helper.make_node("Conv", ["input", "weight"], ["output"], "first", pads=[1, 1, 1, 1])],
        "first",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, FIRST_SHAPE)],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, FIRST_SHAPE)],
        [weight],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    serialised: bytes = model.SerializeToString()
    return serialised
