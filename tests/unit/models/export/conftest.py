from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from models.export.onnx_graph import to_onnx
from models.operators.seeded_weights import random_input

RelativeError = Callable[..., float]


def _run(model: onnx.ModelProto, array: NDArray[Any]) -> NDArray[Any]:
    runtime = pytest.importorskip("onnxruntime", reason="exported graphs are run by it: pip install 'opclock[onnxruntime]'")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    session = runtime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["output"], {"input": array})[0])


@pytest.fixture
def relative_error() -> RelativeError:
    """Exports a module, checks the graph, runs it, and gives the relative L2 error against torch in float32.

    By our own emitters alone, unless `export` says otherwise.
    """

    def measure(
        module: nn.Module, input_shape: tuple[int, ...], dtype: Any = "float32", *, export: Callable[..., Any] = to_onnx
    ) -> float:
        model = export(module, input_shape, dtype=dtype, name="test")
        onnx.checker.check_model(model, full_check=True)
        array = random_input(input_shape, "test")
        with torch.no_grad():
            expected = module(torch.tensor(array)).numpy()  # a copy: it may change its input
        found = _run(model, array.astype(dtype))
        assert found.dtype == dtype
        assert found.shape == expected.shape
        assert expected.any(), "nothing to compare: every output is zero"
        difference = np.linalg.norm(found.astype(np.float64) - expected)
        return float(difference / np.linalg.norm(expected))

    return measure
