"""Modules by their place."""

from __future__ import annotations

from pathlib import Path

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


def test_a_module_object_has_the_same_weights_whenever_its_package_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("first_import", "second_import"):
        (tmp_path / f"{name}.py").write_text("from torch import nn\nNET = nn.Conv2d(3, 4, 3)\n")
    one, other = load_module("first_import:NET"), load_module("second_import:NET")
    assert torch.equal(one.weight, other.weight)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["import sys\nsys.exit(0)\n", "import sys\ndef Net(): sys.exit(0)\n"])
def test_a_package_that_would_end_the_process(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    name = f"leaving_{len(text)}"
    (tmp_path / f"{name}.py").write_text(text)
    with pytest.raises(InvalidSpecError, match="SystemExit"):
        load_module(f"{name}:Net")
