"""Trained networks as ONNX files, and whether a runtime computes from them what torch does.

What a file gives is a choice: scores of every pixel, class ids of every pixel, or scores before the final upsampling, for a
device that has its own way of either.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper

from models.export.onnx_graph import to_onnx
from models.networks.module import Network, build_network
from models.operators.seeded_weights import random_input
from models.spaces.registry import plan_at
from models.spec.architectures import InputSize
from models.spec.base import Record
from models.spec.operators import Dtype
from nas_client.errors import ExportCheckError, TrainingError
from nas_client.train.folder import Trained
from nas_client.train.networks import UPSAMPLE

Result = Literal["scores", "labels", "coarse"]
"""What a file gives: scores at the images' size; class ids there, int32; or scores before the final upsampling."""

TOLERANCES: dict[Dtype, float] = {"float32": 1e-4, "float16": 1e-2}
"""Largest relative L2 error of the scores, a fraction; as the profiling service allows."""

EXTRA = "pip install 'opclock[onnxruntime]'"


class Exported(Record):
    """A file that was written.

    Attributes:
        path: of the file.
        input_shape: NCHW; the graph's is static.
        result: what the file gives.
        output_shape: NCHW for scores, NHW for class ids.
        dtype: of input, weights and scores.
        error: relative L2 error of the runtime's scores against torch's in float32, a fraction; for class ids, that of the
            scores that torch gives these classes, against its highest. None where it was not checked.
    """

    path: str
    input_shape: tuple[int, int, int, int]
    result: Result
    output_shape: tuple[int, ...]
    dtype: Dtype
    error: float | None


def export(
    trained: Trained,
    path: Path,
    *,
    input_size: InputSize | None = None,
    result: Result = "scores",
    unrolled: bool = False,
    check: bool = True,
) -> Exported:
    """Write the network for inference: batch normalisation folded, static shapes, no auxiliary heads.

    Args:
        trained: whose weights to take.
        path: of the file.
        input_size: of the images; the architecture's own where None.
        result: what the file is to give.
        unrolled: whether recurrences are written step by step, for runtimes on a CPU.
        check: run the graph, and write it only if its result is torch's.

    Raises:
        TrainingError: the network has no final upsampling that could be left out.
        InvalidSpecError: no network takes images of that size.
        ExportCheckError: the graph's result is not torch's, or there is nothing to run it.
        OSError: the file cannot be written.
    """
    architecture = trained.architecture
    size = input_size or architecture.input_size
    shape = (architecture.batch, 3, *size)
    network = _coarse(trained, size) if result == "coarse" else trained.network(size)
    model = to_onnx(network, shape, dtype=architecture.dtype, name=architecture.key(), unrolled=unrolled)
    if result == "labels":
        _append_argmax(model)
    error = None
    if check:
        image = random_input(shape, architecture.key())
        with torch.no_grad():
            expected = network(torch.from_numpy(image)).numpy()
        error = _difference(model, image, expected, architecture.dtype)
    path.write_bytes(model.SerializeToString())
    sides = model.graph.output[0].type.tensor_type.shape.dim
    return Exported(
        path=str(path),
        input_shape=shape,
        result=result,
        output_shape=tuple(side.dim_value for side in sides),
        dtype=architecture.dtype,
        error=error,
    )


def _coarse(trained: Trained, size: InputSize) -> Network:
    """The network without its last step, which has no weights."""
    plan = plan_at(trained.architecture, size)
    if plan.steps[-1].operator.kind != UPSAMPLE:
        raise TrainingError(
            f"{trained.architecture.label()} ends with {plan.steps[-1].operator.kind}, not with an upsampling to be left out",
            hint="Export its scores: they are as fine as the network makes them.",
        )
    with torch.device("meta"):
        network = build_network(replace(plan, steps=plan.steps[:-1]))
    network.load_state_dict(trained.weights, assign=True)
    return network.eval()


def _append_argmax(model: onnx.ModelProto) -> None:
    """Let the graph give the class of the highest score, int32. Shape: (N, C, H, W) to (N, H, W)."""
    graph, (scores,) = model.graph, model.graph.output
    for node in graph.node:
        node.output[:] = ["output.scores" if name == scores.name else name for name in node.output]
    batch, _, height, width = (side.dim_value for side in scores.type.tensor_type.shape.dim)
    graph.node.append(
        helper.make_node("ArgMax", ["output.scores"], ["output.classes"], name="output.classes", axis=1, keepdims=0)
    )
    graph.node.append(helper.make_node("Cast", ["output.classes"], ["output"], name="output", to=TensorProto.INT32))
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info("output", TensorProto.INT32, (batch, height, width)))
    onnx.checker.check_model(model)


def _difference(model: onnx.ModelProto, image: np.ndarray, expected: np.ndarray, dtype: Dtype) -> float:
    """The relative error of the graph's scores, or of the scores of its classes; see `Exported`. Raises ExportCheckError."""
    if dtype not in TOLERANCES:
        raise ExportCheckError(
            f"ONNX Runtime computes no {dtype} on a CPU, so the graph cannot be checked", hint="Export it with --no-check."
        )
    try:
        import onnxruntime
    except ImportError as error:
        raise ExportCheckError(
            "onnxruntime is not installed, so the graph cannot be checked against torch",
            hint=f"{EXTRA}, or export it with --no-check.",
        ) from error
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (output,) = session.run(["output"], {"input": image.astype(dtype)})
    given = np.asarray(output)
    if np.issubdtype(given.dtype, np.integer):
        found, expected = np.take_along_axis(expected, given[:, None], axis=1), expected.max(axis=1, keepdims=True)
    else:
        found = given.astype(np.float64)
    difference = float(np.linalg.norm(found - expected) / max(np.linalg.norm(expected), np.finfo(np.float32).tiny))
    if not difference <= TOLERANCES[dtype]:
        raise ExportCheckError(
            f"the graph's result is off by {difference:.3g} (relative L2) from torch's; {dtype} allows {TOLERANCES[dtype]:g}",
            hint="Nothing was written. This is a defect of the export; please report it with the architecture.",
        )
    return difference
