"""Modules by their place."""

from __future__ import annotations

import pytest
import torch

from models.networks.own_module import load_module
from models.spec.errors import InvalidSpecError
from tests.support import own_networks

PLACE = "tests.support.own_networks:"


def test_a_class_makes_the_same_network_each_time() -> None:
    one, other = load_module(PLACE + "Net"), load_module(PLACE + "Net")
    assert not one.training
    images = torch.rand(1, 3, 8, 8)
    assert torch.equal(one(images), other(images))


def test_a_module_itself() -> None:
    assert load_module(PLACE + "INSTANCE") is own_networks.INSTANCE


@pytest.mark.parametrize(
    ("place", "says"),
    [
        (PLACE + "Nothing", "cannot be imported: AttributeError"),
        ("nowhere.at_all:Net", "cannot be imported: ModuleNotFoundError"),
        (PLACE + "NUMBER", "is a int, neither a torch module nor what makes one"),
        (PLACE + "a_number", "makes a int, not a torch module"),
        (PLACE + "NeedsArguments", "needs classes"),
        (PLACE + "Failing", "cannot be made: RuntimeError: no weights here"),
        (PLACE + "Half", "has weights in torch.float16"),
    ],
)
def test_what_is_no_module(place: str, says: str) -> None:
    with pytest.raises(InvalidSpecError) as raised:
        load_module(place)
    assert place in raised.value.message
    assert says in raised.value.message
