"""A discrete network, and the search space it comes from, as data."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, StrictInt, model_validator

from models.spec import limits
from models.spec.base import Record, differences, digest
from models.spec.errors import InvalidSpecError
from models.spec.operators import Batch, Dtype, Side

InputSize = tuple[Side, Side]
Classes = Annotated[StrictInt, Field(ge=1, le=limits.MAX_CLASSES)]
Name = Annotated[str, Field(min_length=1, max_length=64)]
Parameter = StrictInt | Annotated[tuple[StrictInt, ...], Field(max_length=limits.MAX_CELLS, fail_fast=True)]


def parameter_text(value: Parameter) -> str:
    """As a command line takes it: `4,8`, and `4,` for a list of one."""
    return str(value) if isinstance(value, int) else ",".join(map(str, value)) + ("," if len(value) == 1 else "")


class SpaceSpec(Record):
    """A search space with all of its parameters; its digest is part of a table's identity.

    Attributes:
        name: name of the search space.
        input_size: height and width of the images in pixels.
        classes: number of classes that the networks predict.
        batch: images per run.
        dtype: data type of weights, inputs and arithmetic.
        parameters: other parameters of the space by name (layers, base channels …). The space's class fills in defaults.
        version: version of the space's grid. The class raises it when the grid changes, and fills in its present one for 0.
    """

    name: Name
    input_size: InputSize
    classes: Classes = 19
    batch: Batch = 1
    dtype: Dtype = "float32"
    parameters: dict[str, Parameter] = Field(default_factory=dict)
    version: Annotated[StrictInt, Field(ge=0)] = 0

    def digest(self) -> str:
        """16 hex digits that name this space."""
        return digest("space", self.model_dump(mode="json"))

    def differences(self, other: SpaceSpec) -> list[str]:
        """Each field in which `other` differs, as `batch: 1 here, 2 there`."""
        return differences(self, other)

    def label(self) -> str:
        """For people: name, input size and dtype."""
        return f"{self.name} {self.input_size[0]}×{self.input_size[1]} {self.dtype}"


class BranchSpec(Record):
    """One branch: its operators in order, with scales and widths where the space has them.

    Attributes:
        operators: kind of each cell.
        scales: downsample rate at the input of each cell.
        widths: expansion ratio of the connection between successive cells, one fewer than `operators`.
    """

    operators: Annotated[tuple[Name, ...], Field(min_length=1, max_length=limits.MAX_CELLS, fail_fast=True)]
    scales: Annotated[tuple[StrictInt, ...], Field(max_length=limits.MAX_CELLS, fail_fast=True)] = ()
    widths: Annotated[tuple[StrictInt, ...], Field(max_length=limits.MAX_CELLS, fail_fast=True)] = ()

    @model_validator(mode="after")
    def _lengths(self) -> Self:
        cells = len(self.operators)
        if self.scales and len(self.scales) != cells:
            raise InvalidSpecError(f"{len(self.scales)} scales for {cells} operators; one scale per operator is needed")
        if self.widths and len(self.widths) != cells - 1:
            raise InvalidSpecError(f"{len(self.widths)} widths for {cells} operators; {cells - 1} are needed")
        return self


class ArchitectureSpec(Record):
    """A discrete network of a search space. The space's class defines what the fields mean, and their bounds.

    Shape: input (batch, 3, *input_size); output (batch, classes, *input_size).

    Attributes:
        space: name of the search space.
        input_size: height and width of the images in pixels.
        classes: number of classes that the network predicts.
        base_channels: channels from which the space computes the channels of each map.
        stem_width, head_width: width of the stem and of the head; null for the space's own.
        branches: the branches of the network.
        batch: images per run.
        dtype: data type of weights, inputs and arithmetic.
    """

    space: Name
    input_size: InputSize
    classes: Classes = 19
    base_channels: Annotated[StrictInt, Field(ge=1, le=limits.MAX_CHANNELS)] = 12
    stem_width: Annotated[StrictInt, Field(ge=1, le=64)] | None = None
    head_width: Annotated[StrictInt, Field(ge=1, le=64)] | None = None
    branches: Annotated[tuple[BranchSpec, ...], Field(min_length=1, max_length=limits.MAX_BRANCHES, fail_fast=True)]
    batch: Batch = 1
    dtype: Dtype = "float32"

    def key(self) -> str:
        """16 hex digits that name this architecture."""
        return digest("architecture", self.model_dump(mode="json"))

    def label(self) -> str:
        """For people: space, input size, cells per branch, and the first digits of the key."""
        cells = "+".join(str(len(branch.operators)) for branch in self.branches)
        height, width = self.input_size
        return f"{self.space} network {self.key()[:8]} @{height}×{width}, {cells} cells"

    @property
    def input_shape(self) -> tuple[int, int, int, int]:
        """(batch, 3, height, width)."""
        return (self.batch, 3, *self.input_size)
