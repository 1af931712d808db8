"""Trained networks as ONNX files, and whether a runtime computes from them what torch does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import torch

from models.export.onnx_graph import to_onnx
from models.operators.seeded_weights import random_input
from models.spec.architectures import InputSize
from models.spec.base import Record
from models.spec.operators import Dtype
from nas_client.errors import ExportCheckError
from nas_client.train.folder import Trained

TOLERANCES: dict[Dtype, float] = {"float32": 1e-4, "float16": 1e-2}
"""Largest relative L2 error of the scores, a fraction; as the profiling service allows."""

EXTRA = "pip install 'opclock[onnxruntime]'"


class Exported(Record):
    """A file that was written.

    Attributes:
        path: of the file.
        input_shape: NCHW; the graph's is static.
        dtype: of input, output and weights.
        error: relative L2 error of the runtime's scores against torch's in float32, a fraction; None where it was not checked.
    """

    path: str
    input_shape: tuple[int, int, int, int]
    dtype: Dtype
    error: float | None


def export(trained: Trained, path: Path, *, input_size: InputSize | None = None, check: bool = True) -> Exported:
    """Write the network for inference: batch normalisation folded, static shapes, upsampling included, no auxiliary heads.

    Args:
        trained: whose weights to take.
        path: of the file.
        input_size: of the images; the architecture's own where None.
        check: run the graph, and write it only if its scores are torch's.

    Raises:
        InvalidSpecError: no network takes images of that size.
        ExportCheckError: the graph's scores are not torch's, or there is nothing to run it.
        OSError: the file cannot be written.
    """
    architecture = trained.architecture
    size = input_size or architecture.input_size
    shape = (architecture.batch, 3, *size)
    network = trained.network(size)
    model = to_onnx(network, shape, dtype=architecture.dtype, name=architecture.key())
    error = None
    if check:
        image = random_input(shape, architecture.key())
        with torch.no_grad():
            expected = network(torch.from_numpy(image)).numpy()
        error = _difference(model, image, expected, architecture.dtype)
    path.write_bytes(model.SerializeToString())
    return Exported(path=str(path), input_shape=shape, dtype=architecture.dtype, error=error)


def _difference(model: onnx.ModelProto, image: np.ndarray, expected: np.ndarray, dtype: Dtype) -> float:
    """The relative error of the graph's scores. Raises ExportCheckError."""
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
    (scores,) = session.run(["output"], {"input": image.astype(dtype)})
    found = np.asarray(scores, dtype=np.float64)
    difference = float(np.linalg.norm(found - expected) / max(np.linalg.norm(expected), np.finfo(np.float32).tiny))
    if not difference <= TOLERANCES[dtype]:
        raise ExportCheckError(
            f"the graph's scores are off by {difference:.3g} (relative L2) from torch's; {dtype} allows {TOLERANCES[dtype]:g}",
            hint="Nothing was written. This is a defect of the export; please report it with the architecture.",
        )
    return difference
