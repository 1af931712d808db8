"""How weights get from FasterSeg's supernet into fixed networks, and what is refused."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from models.networks.module import Network, build_network
from models.spaces.fasterseg.genotype import BranchSpec
from models.spaces.fasterseg.space import FasterSegSpace
from models.spaces.registry import create_space
from models.spec.architectures import ArchitectureSpec, SpaceSpec
from models.spec.errors import InvalidSpecError, UnknownNameError
from models.supernets.multi_resolution import MultiResolutionSupernet
from models.testing.supernets import disturb
from tests.support.fasterseg_networks import network
from tests.support.toy_space import ToySpace

SIZE = (64, 96)


@pytest.fixture(scope="module")
def space() -> FasterSegSpace:
    return FasterSegSpace.from_spec(
        SpaceSpec(name="fasterseg", input_size=SIZE, classes=3, parameters={"layers": 4, "base_channels": 3, "widths": (4, 8)})
    )


@pytest.fixture(scope="module")
def supernet(space: FasterSegSpace) -> MultiResolutionSupernet:
    torch.manual_seed(0)
    supernet = space.supernet()
    assert isinstance(supernet, MultiResolutionSupernet)
    return disturb(supernet)


def _architecture(*branches: BranchSpec) -> ArchitectureSpec:
    return network(*branches, input_size=SIZE, classes=3, base_channels=3)


def _network(space: FasterSegSpace, architecture: ArchitectureSpec) -> Network:
    return build_network(space.plan(architecture))


SHORT = BranchSpec(operators=("conv3x3", "skip", "conv3x3"), scales=(8, 8, 8), widths=(4, 8))


def test_cells_of_a_shortened_branch_say_where_they_come_from(space: FasterSegSpace, supernet: MultiResolutionSupernet) -> None:
    """A skip between other widths is the supernet's convolution; layer 1 was removed."""
    architecture = _architecture(SHORT)
    network = _network(space, architecture)
    with pytest.raises(InvalidSpecError, match=r"branches\.0: 3 cells at layers 0, 1, 2 of 4"):
        space.copy_weights(supernet, "student", architecture, network)
    space.copy_weights(supernet, "student", architecture, network, layers=[[0, 2, 3]])
    for cell, layer, kind, (rows, columns) in [
        (0, 0, "conv3x3", (8, 16)),
        (1, 2, "skip", (16, 8)),
        (2, 3, "conv3x3", (16, 16)),
    ]:
        copied = network.get_parameter(f"steps.branch0_cell{cell}.conv1.weight")
        kernel = supernet.cell(layer, 8, 1).choice(kind).conv1.weight[:rows, :columns]
        torch.testing.assert_close(copied, kernel, rtol=0, atol=0)


def test_the_stem_and_head_are_the_roles(space: FasterSegSpace, supernet: MultiResolutionSupernet) -> None:
    full = SHORT.model_copy(update={"operators": ("conv3x3",) * 4, "scales": (8,) * 4, "widths": (4, 8, 4)})
    architecture = _architecture(full)
    network = _network(space, architecture)
    for role in supernet.roles:
        space.copy_weights(supernet, role, architecture, network)
        copied = network.state_dict()
        torch.testing.assert_close(copied["steps.stem0.conv1.weight"], supernet.state_dict()[f"stems.{role}.0.conv1.weight"])
        torch.testing.assert_close(
            copied["steps.classifier.classify.weight"], supernet.state_dict()[f"heads.{role}.classifier.8.classify.weight"]
        )


def test_what_does_not_belong_is_refused(space: FasterSegSpace, supernet: MultiResolutionSupernet) -> None:
    full = SHORT.model_copy(update={"operators": ("conv3x3",) * 4, "scales": (8,) * 4, "widths": (4, 8, 4)})
    architecture = _architecture(full)
    network = _network(space, architecture)
    with pytest.raises(UnknownNameError, match="'nobody'"):
        space.copy_weights(supernet, "nobody", architecture, network)
    toy = ToySpace.from_spec(SpaceSpec(name="toy_dag", input_size=(16, 24), classes=5)).supernet()
    with pytest.raises(InvalidSpecError, match="ToySupernet"):
        space.copy_weights(toy, "student", architecture, network)
    three = tuple(full.model_copy(update={"scales": scales}) for scales in ((8, 8, 8, 8), (8, 8, 8, 16), (8, 8, 16, 32)))
    with pytest.raises(InvalidSpecError, match="8,16,32"):
        space.copy_weights(supernet, "student", _architecture(*three), _network(space, _architecture(*three)))


def test_the_teachers_stem_and_head_are_the_widest(space: FasterSegSpace) -> None:
    """And the cells at both ends have room for either."""
    wide = create_space(
        SpaceSpec(name="fasterseg", input_size=SIZE, parameters={"layers": 3, "base_channels": 3, "widths": (4, 12)})
    ).supernet()
    assert isinstance(wide, MultiResolutionSupernet)
    weights = wide.state_dict()
    assert [weights[f"stems.{role}.2.conv2.weight"].shape[0] for role in wide.roles] == [16, 24]
    first, last = wide.cell(0, 8, 1).choice("conv3x3"), wide.cell(2, 8, 1).choice("conv3x3")
    assert tuple(first.conv1.weight.shape[:2]) == (24, 24)
    assert set(last.bn1.norms) == {"16", "24"}


def test_importing_the_space_imports_no_torch() -> None:
    code = "import sys, models.spaces.fasterseg.space; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
