"""What a FasterSeg space is made of: its operators, scales and widths, and the parameters that a spec may set."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import Field, SerializerFunctionWrapHandler, StrictInt, field_validator, model_serializer, model_validator

from models.spec import limits
from models.spec.architectures import SpaceSpec, known_parameters
from models.spec.base import Record
from models.spec.errors import InvalidSpecError

OPERATORS = ("skip", "conv3x3", "zoomed_conv3x3", "conv3x3_x2", "zoomed_conv3x3_x2")
"""The choices of a cell, in the order of α's columns."""

SCALES = (8, 16, 32)
"""Downsample rates a cell may work at; j = log2(scale / 8) in the papers' indices."""

STUDENT, TEACHER = "student", "teacher"
"""Roles of a search."""

FULL_WIDTH = 12
"""Widths count twelfths of the full channel count, base channels × scale."""

MAX_BRANCHES = len(SCALES)
"""At most one branch ends at each scale."""

LATER = frozenset({"branches", "factorised_skips"})
"""Parameters that earlier releases did not have. A spec states them where they differ from their defaults, so that tables and
architectures without them keep their names."""

MIN_LAYERS = len(SCALES)
"""A branch that ends at 1/32 needs a cell at each scale."""

GRID_VERSION, WITHOUT_JOINS = 2, 1
"""Versions of the grid: the first has no resizes and concatenations of the head, so that its sums leave them out."""

Width = Annotated[StrictInt, Field(ge=1, le=64)]
Flag = Annotated[StrictInt, Field(ge=0, le=1)]


def stated(record: type[Record], fields: dict[str, Any]) -> dict[str, Any]:
    """The fields of such a record, without those of `LATER` at their defaults."""
    return {name: value for name, value in fields.items() if name not in LATER or value != record.model_fields[name].default}


class FasterSegParameters(Record):
    """All parameters of a FasterSeg space.

    Attributes:
        layers: L, cells of the longest branch.
        base_channels: F; a map at scale s has F · s channels at full width.
        stem_width, head_width: fixed widths of the student's stem and head, in twelfths.
        widths: expansion ratios χ between cells, in twelfths, in the order of γ's columns.
        branches: b, how many branches the networks aggregate that are sampled or that a search ends in. Architectures with
            another number are networks of the space as well: the grid has the operators of all.
        factorised_skips: 1 where skips with stride 2 are two convolutions of half the width, as in the published code; 0 where
            they are one.

    Source: FasterSeg, sections 3.1 and 4.2.
    """

    layers: Annotated[StrictInt, Field(ge=MIN_LAYERS, le=limits.MAX_LAYERS)] = 16
    base_channels: Annotated[StrictInt, Field(ge=1, le=limits.MAX_CHANNELS)] = 12
    stem_width: Width = 8
    head_width: Width = 8
    widths: Annotated[tuple[Width, ...], Field(min_length=1, max_length=16)] = (4, 6, 8, 10, 12)
    branches: Annotated[StrictInt, Field(ge=1, le=MAX_BRANCHES)] = 2
    factorised_skips: Flag = 0

    @model_serializer(mode="wrap")
    def _without_defaults_of_later(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return stated(type(self), handler(self))

    @classmethod
    def of(cls, spec: SpaceSpec) -> Self:
        """The parameters that the spec states, the others at their defaults.

        Raises:
            InvalidSpecError: names the parameter, its value and its limits.
        """
        return cls.parse(known_parameters(spec.parameters, cls.model_fields, f"search space {spec.name!r}"))

    @field_validator("widths")
    @classmethod
    def _ascending(cls, widths: tuple[int, ...]) -> tuple[int, ...]:
        if list(widths) != sorted(set(widths)):
            raise InvalidSpecError("widths must ascend, each once")
        return widths

    @model_validator(mode="after")
    def _whole_channels(self) -> Self:
        """The stem's first map has F · 4 · width / 12 channels. If that is an integer, so are all others."""
        for width in (self.stem_width, self.head_width, *self.widths):
            if self.base_channels * width % 3:
                raise InvalidSpecError(
                    f"base_channels {self.base_channels} at width {width} does not give an integer number of channels; "
                    "their product must be divisible by 3"
                )
        return self

    def channels(self, scale: int, width: int) -> int:
        """Channels of a map at that scale and width."""
        return self.base_channels * scale * width // FULL_WIDTH

    @property
    def stem_widths(self) -> tuple[int, ...]:
        """Widths a stem is built with: the student's, and the teacher's, which takes the widest expansion everywhere."""
        return tuple(sorted({self.stem_width, self.widths[-1]}))

    @property
    def head_widths(self) -> tuple[int, ...]:
        """Widths a head is built with; see `stem_widths`."""
        return tuple(sorted({self.head_width, self.widths[-1]}))

    def entering_widths(self, scale: int) -> tuple[int, ...]:
        """Widths of a map that enters a cell at that scale: any, and at the finest also the stem's."""
        return tuple(sorted({*self.widths, *self.stem_widths})) if scale == SCALES[0] else self.widths
