"""The input that engines run on: seeded and normally distributed, never zeros (docs/measurement.md)."""

from __future__ import annotations

import numpy as np

from models.spec.graphs import GraphRequest
from profiler_service.backends.base import FloatArray


def seeded_input(request: GraphRequest) -> FloatArray:
    """The same standard normal array for the same graph, in every process.

    Shape: `request.input_shape`.
    """
    generator = np.random.Generator(np.random.SFC64(int(request.key(), 16)))
    return generator.standard_normal(request.input_shape, dtype=np.float32)
