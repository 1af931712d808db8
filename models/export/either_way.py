"""The graph of any module that can be exported: written by our emitters, or by torch's exporter where they do not suffice."""

from __future__ import annotations

from time import perf_counter

import onnx
from torch import nn

from models.export.emitters import UnsupportedPrimitiveError
from models.export.onnx_graph import to_onnx
from models.export.own_network import Shape, require_measurable
from models.export.torch_exporter import TorchExportError, by_torch, torch_opset
from models.spec.errors import InvalidSpecError
from models.spec.operators import Dtype


def graph_of(
    module: nn.Module, input_shape: Shape, *, dtype: Dtype, name: str, unrolled: bool = False
) -> tuple[onnx.ModelProto, float | None]:
    """The module's graph, with one input, `input`, and one output, `output`; see `to_onnx`.

    Returns:
        The graph, and the seconds that torch's exporter took if it was the one to write it.

    Raises:
        InvalidSpecError: neither exports the module, or its graph has several outputs or shapes that depend on the data.
    """
    try:
        return to_onnx(module, input_shape, dtype=dtype, name=name, unrolled=unrolled), None
    except UnsupportedPrimitiveError as unsupported:
        start = perf_counter()
        try:
            model = by_torch(module, input_shape, dtype=dtype, name=name, opset=torch_opset(dtype))
        except TorchExportError as error:
            raise InvalidSpecError(f"{unsupported.message}; {error.message}", hint=error.hint) from error
    require_measurable(model, "the module's graph", input_shape, dtype=dtype)
    return model, perf_counter() - start
