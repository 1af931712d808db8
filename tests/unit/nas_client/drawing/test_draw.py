"""`draw` and what it draws."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from models.spaces.registry import create_space, space_of
from models.spec.architectures import ArchitectureSpec, SpaceSpec
from models.spec.errors import ExitCode
from nas_client.drawing.picture import MOST_COLUMNS, draw_architecture
from nas_client.drawing.placement import place
from nas_client.plotting import inline_svg
from tests.support.client_command import Command
from tests.support.fasterseg_networks import branches_of
from tests.support.toy_space import ToySpace

SPACE = create_space(SpaceSpec(name="fasterseg", input_size=(64, 128), parameters={"layers": 6, "base_channels": 6}))


@pytest.fixture
def network() -> ArchitectureSpec:
    return SPACE.sample(np.random.default_rng(1))


@pytest.fixture
def file(tmp_path: Path, network: ArchitectureSpec) -> Path:
    path = tmp_path / "architecture.json"
    path.write_text(network.model_dump_json())
    return path


def test_every_operator_is_drawn_with_its_channels(network: ArchitectureSpec) -> None:
    svg = inline_svg(draw_architecture(network, title="Found"), "found", "a network")
    texts = [element.text for element in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]
    assert "Found" in texts
    operators = space_of(network).architecture_operators(network)
    channels = [str(operator.out_channels) for operator in operators if operator.kind not in ("resize", "concat")]
    layers = range(max(len(branch.operators) for branch in branches_of(network)))
    numbers = [text for text in texts if text and text.isdigit()]
    assert sorted(numbers) == sorted([*channels, *(str(layer + 1) for layer in layers)])


def test_a_long_network_is_folded() -> None:
    """RSPNet's cells stand one behind the other. They are drawn in bands, each operator and layer once."""
    space = create_space(SpaceSpec(name="rspnet", input_size=(64, 64), parameters={"layers": 3}))
    network = space.sample(np.random.default_rng(0))
    placement = place(network)
    figure = draw_architecture(network)
    (axes,) = figure.axes
    assert axes.get_xlim()[1] <= MOST_COLUMNS + 0.2
    numbers = [text for text in axes.texts if text.get_text().isdigit()]
    operators = [standing.step.operator for standing in placement.places.values()]
    channels = [str(operator.out_channels) for operator in operators if operator.kind not in ("add", "concat", "resize")]
    layers = [str(layer + 1) for layer in range(placement.layers)]
    assert Counter(text.get_text() for text in numbers) == Counter([*channels, *layers])
    places = [text.get_position() for text in numbers]
    assert len(set(places)) == len(places)
    assert all(0 < x < MOST_COLUMNS for x, _ in places)
    bands = -(-(placement.stem + placement.layers + placement.head) // MOST_COLUMNS)
    assert bands > 1
    assert [text.get_text() for text in axes.texts].count("1/4") == bands


def test_the_same_architecture_gives_the_same_picture(network: ArchitectureSpec) -> None:
    first, second = (inline_svg(draw_architecture(network), "a", "a network") for _ in range(2))
    assert first == second


@pytest.mark.parametrize(("suffix", "start"), [("svg", b"<?xml"), ("png", b"\x89PNG"), ("pdf", b"%PDF")])
def test_the_command_writes_the_format_of_the_suffix(
    nas_client: Command, tmp_path: Path, file: Path, network: ArchitectureSpec, suffix: str, start: bytes
) -> None:
    picture = tmp_path / f"found.{suffix}"
    ended = nas_client("draw", "--architecture", file, "-o", picture, "--json")
    assert ended.code == ExitCode.DONE
    assert ended.document == {"architecture": network.key(), "path": str(picture)}
    assert picture.read_bytes().startswith(start)


def test_an_unknown_format_is_refused(nas_client: Command, tmp_path: Path, file: Path) -> None:
    ended = nas_client("draw", "--architecture", file, "-o", tmp_path / "found.doc")
    assert ended.code == ExitCode.BAD_INPUT
    assert "'.doc' is no format of a picture" in ended.err
    assert "svg" in ended.err


def test_a_network_without_cells_is_drawn_too(nas_client: Command, tmp_path: Path) -> None:
    toy = ToySpace.from_spec(SpaceSpec(name="toy_dag", input_size=(32, 64))).sample(np.random.default_rng(0))
    path = tmp_path / "toy.json"
    path.write_text(toy.model_dump_json())
    assert nas_client("draw", "--architecture", path, "-o", tmp_path / "toy.svg").code == ExitCode.DONE
    assert (tmp_path / "toy.svg").read_bytes().startswith(b"<?xml")
    svg = inline_svg(draw_architecture(toy), "toy", "a network")
    texts = {text.text for text in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")}
    assert {"1/1", "1/2", "+"} <= texts
    assert "head" not in texts
