"""What a FasterSeg architecture records: its branches, and the parameters of the space that matter to its network."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Any, Self

from pydantic import Field, SerializerFunctionWrapHandler, StrictInt, model_serializer, model_validator

from models.spaces.fasterseg.parameters import FasterSegParameters, Flag, Width, stated
from models.spec import limits
from models.spec.architectures import ArchitectureSpec, SpaceSpec
from models.spec.base import Record
from models.spec.errors import InvalidSpecError, UnknownNameError

Kind = Annotated[str, Field(min_length=1, max_length=64)]


class BranchSpec(Record):
    """One branch: its operators in order, with their scales and the widths between them.

    Attributes:
        operators: kind of each cell.
        scales: downsample rate at the input of each cell.
        widths: expansion ratio of the connection between successive cells, one fewer than `operators`.
    """

    operators: Annotated[tuple[Kind, ...], Field(min_length=1, max_length=limits.MAX_CELLS, fail_fast=True)]
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

    @property
    def end(self) -> int | None:
        """The scale at which it ends; None where it has no scales."""
        return self.scales[-1] if self.scales else None


class FasterSegGenotype(Record):
    """The genotype of an architecture.

    Attributes:
        branches: of the network, in the order in which their maps are concatenated.
    """

    branches: Annotated[tuple[BranchSpec, ...], Field(min_length=1, max_length=limits.MAX_BRANCHES, fail_fast=True)]

    @classmethod
    def of(cls, architecture: ArchitectureSpec) -> Self:
        """The architecture's. Raises InvalidSpecError that names the field, its value and what is allowed."""
        return cls.parse(architecture.genotype, source="genotype")

    @property
    def has_strided_skips(self) -> bool:
        """Whether one of its skips changes the resolution."""
        return any(
            kind == "skip" and after != here
            for branch in self.branches
            for kind, (here, after) in zip(branch.operators, pairwise(branch.scales), strict=False)
        )

    @property
    def ends(self) -> tuple[int, ...]:
        """The scales at which the branches end, in their order."""
        return tuple(branch.end for branch in self.branches if branch.end is not None)


class NetworkParameters(Record):
    """Those of the space's parameters that its networks depend on.

    Attributes:
        base_channels: F; a map at scale s has F · s channels at full width.
        stem_width, head_width: widths of stem and head, in twelfths.
        factorised_skips: 1 where skips with stride 2 are two convolutions of half the width. Stated where there are such skips
            alone, so that equal networks of either space are one.
    """

    base_channels: Annotated[StrictInt, Field(ge=1, le=limits.MAX_CHANNELS)]
    stem_width: Width
    head_width: Width
    factorised_skips: Flag = 0

    @model_serializer(mode="wrap")
    def _without_defaults_of_later(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return stated(type(self), handler(self))

    @classmethod
    def of(cls, architecture: ArchitectureSpec) -> Self:
        """The architecture's; those that it does not state are the default space's.

        Raises:
            InvalidSpecError: names the parameter, its value and what is allowed.
        """
        for name in architecture.parameters:
            if name not in cls.model_fields:
                raise UnknownNameError.of(
                    f"parameter of a network of search space {architecture.space!r}", name, cls.model_fields
                )
        defaults = FasterSegParameters()
        given = {name: getattr(defaults, name) for name in cls.model_fields} | architecture.parameters
        return cls.parse(given, source="parameters")

    def for_network(self, genotype: FasterSegGenotype) -> Self:
        """Those that this network depends on."""
        return self if genotype.has_strided_skips else self.model_copy(update={"factorised_skips": 0})


def architecture_of(
    spec: SpaceSpec, parameters: FasterSegParameters, branches: Sequence[BranchSpec], *, widest: bool = False
) -> ArchitectureSpec:
    """The architecture with those branches; its stem and head are the space's, or the widest, as a teacher's."""
    network = NetworkParameters(
        base_channels=parameters.base_channels,
        stem_width=parameters.widths[-1] if widest else parameters.stem_width,
        head_width=parameters.widths[-1] if widest else parameters.head_width,
        factorised_skips=parameters.factorised_skips,
    )
    genotype = FasterSegGenotype(branches=tuple(branches))
    return ArchitectureSpec(
        space=spec.name,
        input_size=spec.input_size,
        classes=spec.classes,
        batch=spec.batch,
        dtype=spec.dtype,
        parameters=network.for_network(genotype).model_dump(),
        genotype=genotype.model_dump(mode="json"),
    )
