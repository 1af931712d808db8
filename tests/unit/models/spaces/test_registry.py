"""Spaces by name."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from models.spaces.fasterseg.space import FasterSegSpace
from models.spaces.registry import (
    create_space,
    default_spec,
    plan_at,
    published_readers,
    read_architecture,
    register_space,
    space_class,
    space_label,
    space_names,
)
from models.spec.architectures import SpaceSpec
from models.spec.errors import InvalidSpecError, UnknownNameError


def test_a_space_is_found_by_name() -> None:
    assert "fasterseg" in space_names()
    assert space_class("fasterseg") is FasterSegSpace
    assert isinstance(create_space(SpaceSpec(name="fasterseg", input_size=(64, 64))), FasterSegSpace)


def test_an_unknown_space_is_named_with_the_nearest_known_one() -> None:
    with pytest.raises(UnknownNameError, match="unknown search space 'fastseg'") as caught:
        create_space(SpaceSpec(name="fastseg", input_size=(64, 64)))
    assert "'fasterseg'" in caught.value.hint


def test_a_label_names_what_is_not_as_usual_as_a_command_line_does() -> None:
    usual = SpaceSpec(name="fasterseg", input_size=(64, 64))
    assert space_label(usual) == space_label(create_space(usual).spec) == "fasterseg 64×64 float32"
    small = usual.model_copy(update={"parameters": {"layers": 3, "widths": (4, 8)}, "batch": 2})
    assert space_label(create_space(small).spec) == "fasterseg 64×64 float32, batch=2 layers=3 widths=4,8"
    slim = create_space(usual.model_copy(update={"parameters": {"widths": (4,)}})).spec
    assert space_label(slim) == "fasterseg 64×64 float32, widths=4,"
    elsewhere = SpaceSpec(name="elsewhere", input_size=(64, 64), classes=3, parameters={"depth": 2})
    assert space_label(elsewhere) == "elsewhere 64×64 float32, classes=3 depth=2"


def test_a_second_space_of_a_built_in_name_is_refused() -> None:
    class Impostor(FasterSegSpace):
        pass

    with pytest.raises(InvalidSpecError, match=r"'fasterseg' of tests is refused: opclock 0\.1\.0 has that name"):
        register_space(Impostor)


def test_spaces_that_read_published_tables_are_listed() -> None:
    reader = published_readers()["fasterseg"]
    assert reader is FasterSegSpace
    assert "latency_lookup_table.npy" in reader.published_format


def test_spaces_need_no_torch() -> None:
    """A service's own process uses spaces and must not load a runtime (docs/architecture.md)."""
    script = (
        "import sys, numpy\n"
        "from models.spaces.registry import create_space, published_readers\n"
        "from models.spec.architectures import SpaceSpec\n"
        "published_readers()\n"
        "space = create_space(SpaceSpec(name='fasterseg', input_size=(64, 64)))\n"
        "space.latency_graph(), space.plan(space.sample(numpy.random.default_rng(0)))\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


@pytest.mark.parametrize("space", ["fasterseg", "rspnet"])
@pytest.mark.parametrize("size", [(0, 16), (-32, 64), (32, 100_000)])
def test_a_network_at_a_size_that_no_image_has(space: str, size: tuple[int, int]) -> None:
    architecture = create_space(default_spec(SpaceSpec(name=space, input_size=(64, 64)))).sample(np.random.default_rng(0))
    with pytest.raises(InvalidSpecError, match="input_size"):
        plan_at(architecture, size)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 3_000 + "1" + "}" * 3_000])
def test_a_document_without_end_is_refused(text: str) -> None:
    with pytest.raises(InvalidSpecError):
        read_architecture(text)
