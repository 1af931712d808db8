"""The input that engines run on."""

from __future__ import annotations

import numpy as np

from models.spec.graphs import GraphRequest
from models.spec.operators import OperatorSpec
from profiler_service.backends.base import seeded_input

REQUEST = GraphRequest(subject=OperatorSpec(kind="conv3x3", in_channels=16, out_channels=16, height=64, width=64))


def test_is_the_same_for_the_same_graph_and_normal() -> None:
    array = seeded_input(REQUEST)
    np.testing.assert_array_equal(array, seeded_input(REQUEST))
    assert array.shape == REQUEST.input_shape
    assert array.dtype == np.float32
    assert abs(array.mean()) < 0.02
    assert abs(array.std() - 1) < 0.02


def test_differs_from_graph_to_graph() -> None:
    in_context = REQUEST.model_copy(update={"in_context": True})
    assert not np.array_equal(seeded_input(REQUEST)[:, :4], seeded_input(in_context))
