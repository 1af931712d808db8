"""What an RSPNet space is made of: its cell, its scales, and the parameters that a spec may set."""

from __future__ import annotations

from itertools import combinations
from typing import Annotated, Self

from pydantic import Field, StrictInt, model_validator

from models.spec import limits
from models.spec.architectures import ArchitectureSpec, SpaceSpec, known_parameters
from models.spec.base import Record
from models.spec.errors import InvalidSpecError

OPERATORS = ("conv3x3", "conv5x5", "depthwise3x3", "dilated3x3", "identity")
"""The choices of a cell's edge, in the order of α's columns."""

CELL_EDGES = ((0, 1), (0, 2), (1, 2))
"""A cell's nodes are its input, 0, and two more; the last is its output. The order is that of α's rows."""

SCALES = (4, 8, 16, 32)
"""Downsample rates, the finest first."""

CURRENT = "current"
"""The path from the layer that the cell is in."""

PAIR = 2
"""How many paths enter a cell."""


class RspNetParameters(Record):
    """All parameters of an RSPNet space.

    Attributes:
        layers: L; in each stands a cell at every scale.
        stack: N, how many copies of the cell stand behind each other in a network; the search has one.
        part: 2 with recursive half-channel stages: half of the channels pass through each operator and each path. 1 without.
        base_width: channels at the finest scale; twice as many at each coarser one.
        stem_width: channels of the stem.
        scales: how many of `SCALES`, from the finest on.
        ocr: 1 for an OCR head in place of two 1×1 convolutions.

    Source: RSPNet. N = 4 is its own. It is silent on the macro structure: scales, widths and stem are HRNetV2-W48's, and eight
    layers are ours.
    """

    layers: Annotated[StrictInt, Field(ge=1, le=32)] = 8
    stack: Annotated[StrictInt, Field(ge=1, le=16)] = 4
    part: Annotated[StrictInt, Field(ge=1, le=2)] = 1
    base_width: Annotated[StrictInt, Field(ge=2, le=limits.MAX_CHANNELS // SCALES[-1])] = 48
    stem_width: Annotated[StrictInt, Field(ge=2, le=limits.MAX_CHANNELS)] = 64
    scales: Annotated[StrictInt, Field(ge=2, le=len(SCALES))] = len(SCALES)
    ocr: Annotated[StrictInt, Field(ge=0, le=1)] = 0

    @classmethod
    def of(cls, spec: SpaceSpec | ArchitectureSpec) -> Self:
        """The parameters that the spec states, the others at their defaults.

        Raises:
            InvalidSpecError: names the parameter, its value and its limits.
        """
        stated = known_parameters(spec.parameters, cls.model_fields, "search space 'rspnet'")
        return cls.parse(stated, source="parameters")

    @model_validator(mode="after")
    def _whole_parts(self) -> Self:
        for name in ("base_width", "stem_width"):
            if (value := getattr(self, name)) % self.part:
                raise InvalidSpecError(
                    f"{name} {value} is not divisible by part {self.part}", hint="Take an even number, or part 1."
                )
        return self

    @property
    def rates(self) -> tuple[int, ...]:
        """Downsample rates of the maps."""
        return SCALES[: self.scales]

    def width(self, level: int) -> int:
        """Channels of a map at that scale, counted from the finest."""
        return self.base_width << level

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths into a cell: from each scale of the layer before, by its downsample rate, and from the current layer."""
        return (*map(str, self.rates), CURRENT)

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """The pairs of paths, in the order of β's columns: the first path changes last."""
        return tuple((a, b) for a, b in combinations(self.paths, PAIR))
