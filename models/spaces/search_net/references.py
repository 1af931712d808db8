"""The networks that SEARCH-Net is compared with, at its widths and made of this project's operators: UNet, UNet++ and FPN.

All three have one encoder: at each level two 3×3 convolutions, at the first with the image's size, and before each further
level a 3×3 maximum pooling of stride 2. They end as SEARCH-Net does. Convolutions are padded and have batch normalisation, so
that all can be trained alike.

Sources: Ronneberger et al., U-Net, 2015; Zhou et al., UNet++, 2018; Lin et al., Feature Pyramid Networks, 2017, with the
pyramid's maps added for segmentation as in Kirillov et al., Panoptic Feature Pyramid Networks, 2019.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from models.networks.graph_plan import GraphChoices, graph_plan
from models.networks.structure import NetworkPlan
from models.spaces.search_net.building import Building
from models.spaces.search_net.catalogue import Catalogue
from models.spaces.search_net.parameters import NetworkParameters, SearchNetParameters
from models.spec.architectures import SpaceSpec

if TYPE_CHECKING:
    from models.networks.module import Network

_TWICE = "conv3x3_x2"


def reference_plan(name: str, parameters: NetworkParameters, catalogue: Catalogue) -> NetworkPlan:
    """The network of that name in `REFERENCES`."""
    building = Building(catalogue, catalogue.make(_TWICE, 1, 3, parameters.channels(0)))
    levels = [building.entry]
    for level in range(1, parameters.levels):
        smaller = building.then(levels[-1], "max_pool", parameters.channels(level - 1), stride=2)
        levels.append(building.then(smaller, _TWICE, parameters.channels(level)))
    last = REFERENCES[name](building, levels)
    head = catalogue.head(building.scale(last), building.channels(last))
    return graph_plan(building.graph(), GraphChoices(), head, output=last)


def _unet(building: Building, levels: list[int]) -> int:
    """Up again by bilinear enlargement and a 1×1 convolution, where the paper has a transposed convolution."""
    last = levels[-1]
    for skipped in reversed(levels[:-1]):
        channels = building.channels(skipped)
        enlarged = building.then(building.resized(last, building.scale(skipped)), "conv_bn_relu", channels, kernel=1)
        last = building.then(building.joined([skipped, enlarged]), _TWICE, channels)
    return last


def _unet_plus_plus(building: Building, levels: list[int]) -> int:
    """Nested: each map joins all earlier ones of its level with the enlarged one below. Without deep supervision."""
    columns = [[level] for level in levels]
    for column in range(1, len(levels)):
        for level in range(len(levels) - column):
            before = columns[level]
            below = building.resized(columns[level + 1][column - 1], building.scale(before[0]))
            before.append(building.then(building.joined([*before, below]), _TWICE, building.channels(before[0])))
    return columns[0][-1]


def _fpn(building: Building, levels: list[int]) -> int:
    """A pyramid of twice the base channels; each of its maps, smoothed by a 3×3 convolution and enlarged, is added."""
    channels = 2 * building.channels(levels[0])
    pyramid = [building.then(levels[-1], "conv_bn_relu", channels, kernel=1)]
    for level in reversed(levels[:-1]):
        lateral = building.then(level, "conv_bn_relu", channels, kernel=1)
        pyramid.append(building.added([lateral, building.resized(pyramid[-1], building.scale(level))]))
    smooth = [building.then(node, "conv_bn_relu", channels) for node in pyramid]
    return building.added([building.resized(node, 1) for node in reversed(smooth)])


REFERENCES: Mapping[str, Callable[[Building, list[int]], int]] = {
    "unet": _unet,
    "unet_plus_plus": _unet_plus_plus,
    "fpn": _fpn,
}
"""By name, what leads from the encoder's maps, the largest first, to the last map of the network."""


def unet(classes: int = 2) -> Network:
    """UNet at the space's default widths, as a module with random weights; such as `profiler-service measure` takes.

    Shape: (N, 3, H, W) to (N, classes, H, W); H and W divisible by 8.
    """
    return _module("unet", classes)


def unet_plus_plus(classes: int = 2) -> Network:
    """UNet++; see `unet`."""
    return _module("unet_plus_plus", classes)


def fpn(classes: int = 2) -> Network:
    """FPN; see `unet`."""
    return _module("fpn", classes)


def _module(name: str, classes: int) -> Network:
    """Resizes to a map's size become those by a factor, which fit images of any size."""
    from torch import nn  # heavy

    from models.networks.module import build_network
    from models.operators.layers import Resize

    spec = SpaceSpec(name="search_net", input_size=(256, 256), classes=classes)
    parameters = SearchNetParameters.of(spec)
    network = build_network(reference_plan(name, parameters, Catalogue(spec, parameters)))
    for step in network.plan.steps:
        resize, operator = network.steps[step.name], step.operator
        if isinstance(resize, Resize):
            factor = operator.output_shape[2] / operator.height
            network.steps[step.name] = nn.Upsample(scale_factor=factor, mode=resize.mode, align_corners=resize.align_corners)
    return network
