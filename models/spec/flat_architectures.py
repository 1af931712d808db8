"""Architectures as releases before the second version of their keys wrote them: branches, and three widths beside them.

The one place that reads them. `ArchitectureSpec` takes what `renewed` makes of such a document, wherever it comes from.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import Field, StrictInt, ValidationError, model_validator

from models.spec import limits
from models.spec.base import Record, digest, invalid_of
from models.spec.errors import InvalidSpecError
from models.spec.operators import Batch, Dtype, Side

Name = Annotated[str, Field(min_length=1, max_length=64)]
Width = Annotated[StrictInt, Field(ge=1, le=64)]

_BASE_CHANNELS = 12
"""What the field held where nothing was said, in spaces without such a parameter too."""

_PARAMETERS = ("base_channels", "stem_width", "head_width")


class FlatBranch(Record):
    """One branch: its operators in order, with scales and widths where the space has them."""

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


class FlatArchitecture(Record):
    """An architecture of before. Its fields, defaults and key never change."""

    space: Name
    input_size: tuple[Side, Side]
    classes: Annotated[StrictInt, Field(ge=1, le=limits.MAX_CLASSES)] = 19
    base_channels: Annotated[StrictInt, Field(ge=1, le=limits.MAX_CHANNELS)] = _BASE_CHANNELS
    stem_width: Width | None = None
    head_width: Width | None = None
    branches: Annotated[tuple[FlatBranch, ...], Field(min_length=1, max_length=limits.MAX_BRANCHES, fail_fast=True)]
    batch: Batch = 1
    dtype: Dtype = "float32"

    def key(self) -> str:
        """Its key of the first version."""
        return digest("architecture", self.model_dump(mode="json"))


def is_flat(value: object) -> bool:
    """Whether that is an architecture as it was written before."""
    return isinstance(value, Mapping) and "branches" in value and "genotype" not in value


def renewed(value: Mapping[str, Any]) -> dict[str, Any]:
    """The same architecture in today's fields. Its branches become the genotype, the widths parameters.

    Spaces without such parameters wrote defaults there, and get none.

    Raises:
        InvalidSpecError: it is no architecture of before either; names the field, its value and what is allowed.
    """
    flat = _parsed(value)
    widths = {name: width for name in _PARAMETERS[1:] if (width := getattr(flat, name)) is not None}
    parameters = (
        widths if flat.base_channels == _BASE_CHANNELS and not widths else {"base_channels": flat.base_channels, **widths}
    )
    branches = [branch.model_dump(mode="json", exclude_defaults=True) for branch in flat.branches]
    kept = flat.model_dump(include={"space", "input_size", "classes", "batch", "dtype"})
    return {**kept, "parameters": parameters, "genotype": {"branches": branches}}


def former_key(architecture: Mapping[str, Any]) -> str | None:
    """The key that an architecture of today's fields had before; None where there was no such architecture."""
    parameters, genotype = architecture["parameters"], architecture["genotype"]
    if not set(parameters) <= set(_PARAMETERS) or set(genotype) != {"branches"}:
        return None
    kept = {name: architecture[name] for name in ("space", "input_size", "classes", "batch", "dtype")}
    try:
        return FlatArchitecture.model_validate({**kept, **parameters, "branches": genotype["branches"]}).key()
    except ValidationError:
        return None


def _parsed(value: Mapping[str, Any]) -> FlatArchitecture:
    try:
        return FlatArchitecture.model_validate(value)
    except ValidationError as error:
        raise invalid_of(error.errors(include_url=False), record=FlatArchitecture) from error
