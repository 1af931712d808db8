"""Steps of a validation, and what is needed for one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from scripts.gpu_check.bench import Bench, SkipPartError
from scripts.gpu_check.choices import REHEARSAL
from scripts.gpu_check.networks import steps, student, validation


@pytest.mark.parametrize(
    ("count", "at_once", "expected"),
    [(30, 10, [10, 20, 30]), (8, 8, [8]), (40, 40, [40]), (30, 4, [8, 12, 16, 20, 24, 28, 30]), (25, 10, [10, 20, 25])],
)
def test_each_step_adds_networks_to_those_that_are_measured(count: int, at_once: int, expected: list[int]) -> None:
    assert steps(count, at_once) == expected


def test_without_a_table_there_is_nothing_to_validate(tmp_path: Path) -> None:
    bench = Bench(REHEARSAL, tmp_path, "validation", 60.0)
    with pytest.raises(SkipPartError, match="run table-torch-float32-in_context first"):
        validation(bench, "torch", "float32")


def test_the_student_needs_the_published_data_and_its_own_space(tmp_path: Path) -> None:
    bench = Bench(REHEARSAL, tmp_path, "student", 60.0)
    with pytest.raises(SkipPartError, match="not of a space with layers=3"):
        student(bench, "torch", "float32", tmp_path)
    usual = Bench(replace(REHEARSAL, parameters=()), tmp_path, "student", 60.0)
    with pytest.raises(SkipPartError, match=r"no published student at .*--reference"):
        student(usual, "torch", "float32", tmp_path)
