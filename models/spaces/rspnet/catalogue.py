"""The operators of an RSPNet space."""

from __future__ import annotations

from models.spaces.rspnet.parameters import OPERATORS, RspNetParameters
from models.spec.architectures import SpaceSpec
from models.spec.kinds import AttributeValue
from models.spec.operators import OperatorSpec

_OCR_CHANNELS = 512
"""Of the OCR head, twice its keys; of narrower maps as many as these have."""


class Catalogue:
    """Makes the operators of one space at its input size, each once.

    Levels count scales from the finest, 0; the stem's map lies there.

    Args:
        spec: input size, classes, batch and dtype.
        parameters: widths and part.
    """

    def __init__(self, spec: SpaceSpec, parameters: RspNetParameters) -> None:
        self._spec = spec
        self._parameters = parameters
        self._made: dict[str, OperatorSpec] = {}

    def size(self, level: int) -> tuple[int, int]:
        """(height, width) of a map at that level."""
        rate = self._parameters.rates[level]
        height, width = self._spec.input_size
        return height // rate, width // rate

    def stem(self) -> tuple[OperatorSpec, ...]:
        """Two 3×3 convolutions of stride 2, as HRNet's."""
        (height, width), channels = self._spec.input_size, self._parameters.stem_width
        return (
            self._make("conv_bn_relu", 3, channels, (height, width), stride=2),
            self._make("conv_bn_relu", channels, channels, (height // 2, width // 2), stride=2),
        )

    def first(self, level: int) -> OperatorSpec:
        """The 1×1 convolution that brings the stem's map to the channels of a level."""
        parameters = self._parameters
        return self._make("path", parameters.stem_width, parameters.width(level), self.size(0), attributes={"part": 1})

    def path(self, source: int | None, level: int) -> OperatorSpec:
        """The 1×1 convolution of a path, before it is resized. `source`: its level; None for the stem's map."""
        parameters = self._parameters
        entering = parameters.stem_width if source is None else parameters.width(source)
        leaving = parameters.width(level) // parameters.part
        return self._make("path", entering, leaving, self.size(source or 0), attributes={"part": parameters.part})

    def resize(self, channels: int, source: int, level: int) -> OperatorSpec:
        """From the size of one level to that of another."""
        height, width = self.size(level)
        attributes: dict[str, AttributeValue] = {"to_height": height, "to_width": width}
        return self._make("resize", channels, channels, self.size(source), attributes=attributes)

    def untouched(self, level: int) -> OperatorSpec:
        """The half of a cell's former map that no path replaces."""
        channels = self._parameters.width(level)
        return self._make("last_channels", channels, channels // self._parameters.part, self.size(level))

    def edge(self, level: int) -> tuple[OperatorSpec, ...]:
        """The choices of a cell's edge, in the order of `OPERATORS`."""
        channels, part = self._parameters.width(level), self._parameters.part
        made = []
        for name in OPERATORS:
            kind = "partial_conv3x3" if name == "conv3x3" and part > 1 else name
            attributes: dict[str, AttributeValue] = {} if name == "identity" or kind == "conv3x3" else {"part": part}
            made.append(self._make(kind, channels, channels, self.size(level), attributes=attributes))
        return tuple(made)

    def add(self, channels: int, maps: int, level: int) -> OperatorSpec:
        """A sum."""
        return self._make("add", channels, channels, self.size(level), attributes={"sources": maps})

    def concat(self, parts: tuple[int, ...], level: int) -> OperatorSpec:
        """A concatenation."""
        return self._make("concat", sum(parts), sum(parts), self.size(level), attributes={"sources": "+".join(map(str, parts))})

    def head(self) -> tuple[OperatorSpec, ...]:
        """From the concatenated maps to the scores."""
        parameters, classes, size = self._parameters, self._spec.classes, self.size(0)
        channels = sum(map(parameters.width, range(parameters.scales)))
        upsampling = self._make("upsample", classes, classes, size, attributes={"scale": parameters.rates[0]})
        if parameters.ocr:
            wide = min(_OCR_CHANNELS, channels)
            attributes: dict[str, AttributeValue] = {"channels": wide, "keys": max(1, wide // 2)}
            return self._make("object_context_head", channels, classes, size, attributes=attributes), upsampling
        if parameters.part == 1:
            fusion = self._make("conv_bn_relu", channels, channels, size, attributes={"kernel": 1})
        else:
            fusion = self._make("partial_conv1x1", channels, channels, size, attributes={"part": parameters.part})
        return fusion, self._make("classifier", channels, classes, size), upsampling

    def _make(
        self,
        kind: str,
        entering: int,
        leaving: int,
        size: tuple[int, int],
        *,
        stride: int = 1,
        attributes: dict[str, AttributeValue] | None = None,
    ) -> OperatorSpec:
        place = f"{kind} {entering} {leaving} {size} {stride} {attributes}"
        if place not in self._made:
            self._made[place] = OperatorSpec.parse(
                {
                    "kind": kind,
                    "in_channels": entering,
                    "out_channels": leaving,
                    "height": size[0],
                    "width": size[1],
                    "stride": stride,
                    "batch": self._spec.batch,
                    "dtype": self._spec.dtype,
                    "attributes": attributes or {},
                }
            )
        return self._made[place]
