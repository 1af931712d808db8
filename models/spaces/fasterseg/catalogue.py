"""Every operator of a FasterSeg network, by its position."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from models.spaces.fasterseg.parameters import MAX_BRANCHES, OPERATORS, SCALES, WITHOUT_JOINS, FasterSegParameters
from models.spec.architectures import SpaceSpec
from models.spec.errors import InvalidSpecError
from models.spec.kinds import AttributeValue
from models.spec.operators import OperatorSpec


class Catalogue:
    """Makes the operators of one space at its input size; the same position and channels give the same object.

    Args:
        spec: input size, classes, batch, dtype and version of the grid.
        parameters: base channels and widths.
    """

    def __init__(self, spec: SpaceSpec, parameters: FasterSegParameters) -> None:
        self._spec = spec
        self._parameters = parameters
        self._made: dict[tuple[object, ...], OperatorSpec] = {}

    def size(self, scale: int) -> tuple[int, int]:
        """(height, width) of a map at that downsample rate: as every operator does, it is rounded up."""
        height, width = self._spec.input_size
        return (-(-height // scale), -(-width // scale))

    def stem(self, stem_width: int) -> tuple[OperatorSpec, ...]:
        """The operators from the image to 1/8: five 3×3 convolutions, the 1st, 2nd and 4th of stride 2.

        Source: FasterSeg, Appendix A; channels as published (3→32→64→64 at width 8).
        """
        channels = self._parameters.channels
        half, quarter, eighth = channels(4, stem_width), channels(8, stem_width), channels(8, stem_width)
        return (
            self._operator("conv_bn_relu", 1, 3, half, stride=2),
            self._operator("conv3x3_x2", 2, half, quarter, stride=2),
            self._operator("conv3x3_x2", 4, quarter, eighth, stride=2),
        )

    def cell(self, kind: str, scale: int, in_channels: int, out_channels: int, stride: int) -> OperatorSpec:
        """The operator of a cell whose input is at `scale`."""
        factorised = kind == "skip" and stride == 2 and self._parameters.factorised_skips
        attributes = {"factorised": True} if factorised else {}
        return self._operator(kind, scale, in_channels, out_channels, stride=stride, attributes=attributes)

    def branch_end(self, scale: int, head_width: int) -> tuple[OperatorSpec, ...]:
        """What follows a branch's last cell at that scale, before the head takes its map; here nothing."""
        return ()

    def before_classifier(self, branches: int, head_width: int) -> tuple[OperatorSpec, ...]:
        """What stands between the fusion of so many branches and the classifier; here nothing."""
        return ()

    def reduction(self, scale: int, head_width: int) -> OperatorSpec:
        """The head's 1×1 convolution of a map at `scale`, to the channels of the next finer scale."""
        channels = self._parameters.channels
        wide, narrow = channels(scale, head_width), channels(scale // 2, head_width)
        return self._operator("conv_bn_relu", scale, wide, narrow, attributes={"kernel": 1})

    def enlargement(self, scale: int, head_width: int) -> OperatorSpec:
        """The head's ×2 resize of a reduced map, from twice that scale to `scale`."""
        narrow, (height, width) = self._parameters.channels(scale, head_width), self.size(scale)
        return self._operator("resize", 2 * scale, narrow, narrow, attributes={"to_height": height, "to_width": width})

    def skip_join(self, scale: int, head_width: int, skipped_channels: int) -> OperatorSpec:
        """The concatenation of an enlarged map with the branch's last map at `scale`."""
        return self._concat(scale, (self._parameters.channels(scale, head_width), skipped_channels))

    def branch_join(self, branches: int, head_width: int) -> OperatorSpec:
        """The concatenation of the branches' results."""
        return self._concat(SCALES[0], (self._parameters.channels(SCALES[0], head_width),) * branches)

    def refinement(self, scale: int, head_width: int, skipped_channels: int) -> OperatorSpec:
        """The head's 3×3 convolution of a reduced map concatenated with the branch's last map at `scale`."""
        narrow = self._parameters.channels(scale, head_width)
        return self._operator("conv_bn_relu", scale, narrow + skipped_channels, narrow)

    def fusion(self, branches: int, head_width: int) -> OperatorSpec:
        """The 1×1 convolution of the branches' concatenated results."""
        channels = branches * self._parameters.channels(SCALES[0], head_width)
        return self._operator("feature_fusion", SCALES[0], channels, channels)

    def classifier(self, branches: int, head_width: int) -> OperatorSpec:
        """The convolutions from the fused map to the classes."""
        channels = branches * self._parameters.channels(SCALES[0], head_width)
        return self._operator("segmentation_head", SCALES[0], channels, self._spec.classes)

    def upsampling(self) -> OperatorSpec:
        """The final ×8 resize of the class scores."""
        classes = self._spec.classes
        return self._operator("upsample", SCALES[0], classes, classes, attributes={"scale": SCALES[0]})

    def grid(self) -> Iterator[OperatorSpec]:
        """Every operator that an architecture or the latency graph can contain, stem to head, repeats included, then joins."""
        parameters = self._parameters
        for stem_width in parameters.stem_widths:
            yield from self.stem(stem_width)
        yield from self._cells()
        for head_width in parameters.head_widths:
            for scale in SCALES[1:]:
                yield self.reduction(scale, head_width)
            for scale in SCALES[:-1]:
                for width in parameters.entering_widths(scale):
                    yield self.refinement(scale, head_width, parameters.channels(scale, width))
            for branches in range(1, MAX_BRANCHES + 1):
                yield self.fusion(branches, head_width)
                yield self.classifier(branches, head_width)
        yield self.upsampling()
        if self._spec.version != WITHOUT_JOINS:
            yield from self._joins()

    def _joins(self) -> Iterator[OperatorSpec]:
        parameters = self._parameters
        for head_width in parameters.head_widths:
            for scale in SCALES[:-1]:
                yield self.enlargement(scale, head_width)
                for width in parameters.entering_widths(scale):
                    yield self.skip_join(scale, head_width, parameters.channels(scale, width))
            for branches in range(2, MAX_BRANCHES + 1):
                yield self.branch_join(branches, head_width)

    def _cells(self) -> Iterator[OperatorSpec]:
        parameters = self._parameters
        leaving = sorted({*parameters.widths, *parameters.head_widths})
        for kind in OPERATORS:
            for scale in SCALES:
                for entering in parameters.entering_widths(scale):
                    in_channels = parameters.channels(scale, entering)
                    for width in leaving:
                        yield self.cell(kind, scale, in_channels, parameters.channels(scale, width), 1)
                    if scale == SCALES[-1]:
                        continue
                    for width in parameters.widths:
                        yield self.cell(kind, scale, in_channels, parameters.channels(2 * scale, width), 2)

    def _concat(self, scale: int, sources: tuple[int, ...]) -> OperatorSpec:
        channels = sum(sources)
        return self._operator("concat", scale, channels, channels, attributes={"sources": "+".join(map(str, sources))})

    def _operator(
        self,
        kind: str,
        scale: int,
        in_channels: int,
        out_channels: int,
        *,
        stride: int = 1,
        attributes: Mapping[str, AttributeValue] = MappingProxyType({}),
    ) -> OperatorSpec:
        identity = (kind, scale, in_channels, out_channels, stride, *attributes.items())
        if identity not in self._made:
            height, width = self.size(scale)
            fields = {
                "kind": kind,
                "in_channels": in_channels,
                "out_channels": out_channels,
                "height": height,
                "width": width,
                "stride": stride,
                "batch": self._spec.batch,
                "dtype": self._spec.dtype,
                "attributes": dict(attributes),
            }
            try:
                self._made[identity] = OperatorSpec.parse(fields)
            except InvalidSpecError as error:
                rows, columns = self._spec.input_size
                raise type(error)(
                    f"input size {rows}×{columns}, batch {self._spec.batch}, base channels "
                    f"{self._parameters.base_channels}: {kind} {in_channels}→{out_channels}: {error.message}",
                    hint="Choose a smaller input, batch or number of channels.",
                ) from error
        return self._made[identity]
