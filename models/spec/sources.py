"""What the sources of an operator are: the shape of each map that it takes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from models.spec.errors import InvalidSpecError

if TYPE_CHECKING:
    from models.spec.kinds import AttributeValue

Sources = Literal["one", "parts", "alike", "gate"]
"""How an operator's sources follow from its fields.

    one: a single map.
    parts: several maps of one size; attribute `sources` says the channels of each, `64+32`, whose sum is `in_channels`.
    alike: as many maps as the integer attribute `sources` says, each of the input's shape.
    gate: a map of the input's shape and a gate that scales it: (N, C, 1, 1), or (N, 1, H, W) where attribute `gate` is `pixel`.
"""

MOST_SOURCES = 16

MapShape = tuple[int, int, int, int]
"""NCHW."""

_PARTS = re.compile(r"[1-9][0-9]{0,5}(\+[1-9][0-9]{0,5})+")


def source_channels(kind: str, sources: Sources, attributes: Mapping[str, AttributeValue], in_channels: int) -> tuple[int, ...]:
    """Channels of each source.

    Raises:
        InvalidSpecError: attribute `sources` does not say them, or they do not sum to `in_channels`.
    """
    if sources == "alike":
        return (in_channels,) * int(attributes["sources"])
    if sources == "gate":
        return (in_channels, 1 if attributes["gate"] == "pixel" else in_channels)
    if sources == "one":
        return (in_channels,)
    text = str(attributes["sources"])
    if not _PARTS.fullmatch(text) or text.count("+") >= MOST_SOURCES:
        raise InvalidSpecError(
            f"attribute 'sources' of kind {kind!r} is {text!r}; it must be the channels of 2 to {MOST_SOURCES} sources",
            hint="Write 64+32 for two sources of 64 and 32 channels.",
        )
    channels = tuple(map(int, text.split("+")))
    if sum(channels) != in_channels:
        raise InvalidSpecError(
            f"attribute 'sources' of kind {kind!r} is {text!r}, {sum(channels)} channels in all, "
            f"but in_channels is {in_channels}"
        )
    return channels


def source_shapes(
    sources: Sources, attributes: Mapping[str, AttributeValue], channels: tuple[int, ...], input_shape: MapShape
) -> tuple[MapShape, ...]:
    """The shape of each source, from the channels of each and the shape of the input."""
    batch, _, height, width = input_shape
    shapes = [(batch, count, height, width) for count in channels]
    if sources == "gate" and attributes["gate"] == "channel":
        shapes[1] = (batch, channels[1], 1, 1)
    return tuple(shapes)
