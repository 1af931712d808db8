"""Every operator of a SEARCH-Net network, by its position."""

from __future__ import annotations

from collections.abc import Sequence

from models.spaces.search_net.parameters import OPERATORS, SearchNetParameters
from models.spec.architectures import SpaceSpec
from models.spec.kinds import AttributeValue
from models.spec.operators import OperatorSpec


class Catalogue:
    """Makes the operators of one space at its input size. Scales are those of an operator's input.

    Args:
        spec: input size, classes, batch and dtype.
        parameters: of the space.
    """

    def __init__(self, spec: SpaceSpec, parameters: SearchNetParameters) -> None:
        self._spec, self._parameters = spec, parameters

    def make(
        self, kind: str, at: int, in_channels: int, out_channels: int, *, stride: int = 1, **attributes: AttributeValue
    ) -> OperatorSpec:
        """An operator of any kind, on a map at that scale."""
        height, width = self._size(at)
        return OperatorSpec.parse(
            {
                "kind": kind,
                "in_channels": in_channels,
                "out_channels": out_channels,
                "height": height,
                "width": width,
                "stride": stride,
                "batch": self._spec.batch,
                "dtype": self._spec.dtype,
                "attributes": attributes,
            }
        )

    def choices(self, scale: int, channels: int, stride: int) -> tuple[OperatorSpec, ...]:
        """What an edge of a cell chooses from, in the order of α's columns."""
        return tuple(self._choice(name, scale, channels, stride) for name in self._parameters.names)

    def stem(self) -> OperatorSpec:
        """The 3×3 convolution from the image to the base channels."""
        return self.make("conv_bn_relu", 1, 3, self._parameters.base_channels)

    def head(self, scale: int, channels: int) -> tuple[OperatorSpec, ...]:
        """A 3×3 convolution and a 1×1 to the classes; the scores are resized to the image's size where they have another."""
        classes = self._spec.classes
        classify = self.make("segmentation_head", scale, channels, classes)
        return (classify,) if scale == 1 else (classify, self.make("upsample", scale, classes, classes, scale=scale))

    def resize(self, scale: int, to_scale: int, channels: int) -> OperatorSpec:
        """A bilinear resize from one scale to another."""
        height, width = self._size(to_scale)
        return self.make("resize", scale, channels, channels, to_height=height, to_width=width)

    def concat(self, scale: int, parts: Sequence[int]) -> OperatorSpec:
        """The concatenation of maps with these channels."""
        return self.make("concat", scale, sum(parts), sum(parts), sources="+".join(map(str, parts)))

    def add(self, scale: int, channels: int, maps: int) -> OperatorSpec:
        """The sum of so many maps."""
        return self.make("add", scale, channels, channels, sources=maps)

    def _choice(self, name: str, scale: int, channels: int, stride: int) -> OperatorSpec:
        kind, attributes = OPERATORS[name]
        if kind == "mbconv":
            activation = "silu" if self._parameters.silu else "relu"
            attributes = {**attributes, "expansion": self._parameters.expansion, "activation": activation}
        return self.make(kind, scale, channels, channels, stride=stride, **attributes)

    def _size(self, scale: int) -> tuple[int, int]:
        height, width = self._spec.input_size
        return (-(-height // scale), -(-width // scale))
