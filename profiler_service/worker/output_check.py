"""Whether an engine computes what the torch module computes (docs/measurement.md: correct first)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from models.spec.operators import Dtype
from profiler_service.backends.base import FloatArray

TOLERANCES: Mapping[Dtype, float] = {"float32": 1e-4, "float16": 1e-2, "bfloat16": 5e-2}
"""Largest relative L2 error of an output, a fraction. Correct engines of whole networks stay 5 to 100 times below (1e-6, 1e-3
and 1e-2); a resize with the wrong corners, a mistake easily made, is off by a fifth and more, in context too."""


def tolerance(dtype: Dtype, *, tf32: bool = False) -> float:
    """Of an output in that dtype. TF32 rounds what is multiplied to float16's ten bits, so that it is as exact as that."""
    return TOLERANCES["float16" if tf32 and dtype == "float32" else dtype]


def output_problem(output: FloatArray, reference: FloatArray, dtype: Dtype, *, tf32: bool = False) -> tuple[float | None, str]:
    """Compare an output with the float32 reference.

    Args:
        output: of the engine, as float32.
        reference: of the torch module.
        dtype: that the engine computes in.
        tf32: whether it may compute float32 in TF32.

    Returns:
        The relative L2 error (None where there is none to speak of) and what is wrong, empty if nothing is.
    """
    if output.shape != reference.shape:
        return None, f"the output has shape {output.shape}, the torch module's {reference.shape}"
    if not np.isfinite(output).all():
        return None, "the output has NaN or infinite values, the torch module's has none"
    error = _error(output, reference)
    limit = tolerance(dtype, tf32=tf32)
    if error > limit:
        what = f"{dtype} in TF32" if tf32 and dtype == "float32" else dtype
        return error, f"the output is off by {error:.3g} (relative L2) from the torch module's; {what} allows {limit:g}"
    return error, ""


def change_problem(output: FloatArray, again: FloatArray, dtype: Dtype, *, tf32: bool = False) -> str:
    """What is wrong with the output of a second run on the same input, empty if nothing is.

    Sums in another order differ by less than what the dtype allows.
    """
    if again.shape == output.shape and np.isfinite(again).all() and _error(again, output) <= tolerance(dtype, tf32=tf32):
        return ""
    return "the engine gives another output each time; what it computes cannot be checked"


def _error(output: FloatArray, reference: FloatArray) -> float:
    """Relative L2 error, a fraction."""
    size = float(np.linalg.norm(reference.ravel()))
    return float(np.linalg.norm((output - reference).ravel())) / max(size, float(np.finfo(np.float32).tiny))
