"""What is offered instead of a name that nothing is registered under."""

from __future__ import annotations

import pytest

from models.spec.errors import nearest

MANY = [
    f"{kind}-{backend}" for kind in ("clocks", "contract", "table") for backend in ("inductor", "onnxruntime", "torch", "trt")
]


@pytest.mark.parametrize(
    ("name", "known", "hint"),
    [
        ("clocks-torhc", MANY, "Did you mean 'clocks-torch'?"),
        ("wide", ["layers", "base"], "Known: base, layers."),
        ("wide", [], "Known: none."),
        ("trt", MANY, "The nearest of 12 known ones: table-trt, clocks-trt, contract-trt."),
        ("???", [str(number) for number in range(10)], "Known: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9."),
    ],
)
def test_the_nearest_is_offered_or_a_list_that_can_be_read(name: str, known: list[str], hint: str) -> None:
    assert nearest(name, known) == hint


def test_of_many_names_none_of_which_is_near_three_are_offered() -> None:
    hint = nearest("???", MANY)
    assert hint.startswith("The nearest of 12 known ones: ")
    assert hint.count(", ") == 2
