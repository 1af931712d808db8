"""Correct or wrong output."""

from __future__ import annotations

import numpy as np
import pytest

from models.spec.operators import Dtype
from profiler_service.jobs.output_check import TOLERANCES, output_problem

REFERENCE = np.random.default_rng(0).standard_normal((1, 8, 4, 4), dtype=np.float32)


def test_states_the_relative_l2_error() -> None:
    error, problem = output_problem(REFERENCE * np.float32(1.00001), REFERENCE, "float32")
    assert problem == ""
    assert error == pytest.approx(1e-5, rel=0.05)


@pytest.mark.parametrize("dtype", list(TOLERANCES))
def test_allows_what_the_dtype_rounds_and_no_more(dtype: Dtype) -> None:
    limit = TOLERANCES[dtype]
    assert output_problem(REFERENCE * np.float32(1 + 0.9 * limit), REFERENCE, dtype)[1] == ""
    error, problem = output_problem(REFERENCE * np.float32(1 + 1.1 * limit), REFERENCE, dtype)
    assert error is not None
    assert f"{dtype} allows {limit:g}" in problem


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_one_value_that_is_not_finite_is_wrong(value: float) -> None:
    output = REFERENCE.copy()
    output[0, 3, 2, 1] = value
    error, problem = output_problem(output, REFERENCE, "bfloat16")
    assert error is None
    assert "NaN or infinite" in problem


def test_another_shape_is_wrong_and_both_are_named() -> None:
    _, problem = output_problem(REFERENCE[:, :, :2], REFERENCE, "float32")
    assert problem == "the output has shape (1, 8, 2, 4), the torch module's (1, 8, 4, 4)"


def test_nothing_but_zeros_equals_zeros() -> None:
    zeros = np.zeros_like(REFERENCE)
    assert output_problem(zeros, zeros, "float32") == (0.0, "")
    assert output_problem(REFERENCE, zeros, "float32")[1]
