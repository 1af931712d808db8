"""A discrete network, and the search space it comes from, as data."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, StrictInt, model_validator

from models.spec import limits
from models.spec.base import Record, differences, digest
from models.spec.errors import InvalidSpecError, UnknownNameError
from models.spec.flat_architectures import former_key, is_flat, renewed
from models.spec.json_values import bounded_object
from models.spec.operators import Batch, Dtype, Side

InputSize = tuple[Side, Side]
Classes = Annotated[StrictInt, Field(ge=1, le=limits.MAX_CLASSES)]
Name = Annotated[str, Field(min_length=1, max_length=64)]
Genotype = Annotated[dict[str, Any], BeforeValidator(bounded_object)]
Parameter = StrictInt | Annotated[tuple[StrictInt, ...], Field(max_length=limits.MAX_CELLS, fail_fast=True)]

ARCHITECTURE_KEY_VERSION = 2
"""Raised whenever the same architecture would come to mean another network. Version 1: see `flat_architectures`."""


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

    def require_own(self, architecture: ArchitectureSpec) -> None:
        """Raises InvalidSpecError unless the architecture is of this space, size, classes, batch and dtype; names the field."""
        expected = {
            "space": self.name,
            "input_size": self.input_size,
            "classes": self.classes,
            "batch": self.batch,
            "dtype": self.dtype,
        }
        for name, value in expected.items():
            if (given := getattr(architecture, name)) != value:
                raise foreign_architecture(name, given, value)

    def require_multiple(self, multiple: int, what: str) -> None:
        """Raises InvalidSpecError where a side of the images is not divisible by that; says what it is to the space."""
        for name, side in zip(("height", "width"), self.input_size, strict=True):
            if side % multiple:
                nearest = {max(multiple, side // multiple * multiple), -(-side // multiple) * multiple}
                raise InvalidSpecError(
                    f"input_size: {name} {side} is not divisible by {multiple}, {what}",
                    hint=f"The nearest that fit: {', '.join(map(str, sorted(nearest)))}.",
                )

    def require_version(self, *known: int) -> None:
        """Raises InvalidSpecError where the grid's version is stated, and none that this release knows."""
        if self.version not in (0, *known):
            which = f"not {known[0]}" if len(known) == 1 else f"none of {', '.join(map(str, known))}"
            raise InvalidSpecError(
                f"version: {self.version} of search space {self.name!r} is {which}, which this release knows",
                hint="Use the release that wrote it, or measure the table again.",
            )

    def label(self) -> str:
        """For people: name, input size and dtype."""
        return f"{self.name} {self.input_size[0]}×{self.input_size[1]} {self.dtype}"


def known_parameters(given: Mapping[str, Parameter], known: Collection[str], whose: str) -> dict[str, Parameter]:
    """Those parameters, if all are known. `whose` they are is for the error.

    Raises:
        UnknownNameError: one is not known; names it, and the nearest.
    """
    for name in given:
        if name not in known:
            raise UnknownNameError.of(f"parameter of {whose}", name, known)
    return dict(given)


def foreign_architecture(name: str, given: object, expected: object) -> InvalidSpecError:
    """An architecture of another space, as one of its fields shows."""
    return InvalidSpecError(
        f"{name}: the architecture's is {given!r}, this search space's is {expected!r}",
        hint="Use the search space and table that belong to the architecture.",
    )


class ArchitectureSpec(Record):
    """A discrete network of a search space. The space's class defines what parameters and genotype mean, and their bounds.

    Documents of earlier releases, with branches and three widths in place of the two, are read as well.

    Shape: input (batch, 3, *input_size); output (batch, classes, *input_size).

    Attributes:
        space: name of the search space.
        input_size: height and width of the images in pixels.
        classes: number of classes that the network predicts.
        batch: images per run.
        dtype: data type of weights, inputs and arithmetic.
        parameters: those parameters of the space that matter to the network, by name. The space's class fills in defaults.
        genotype: what was chosen: an object of JSON that the space's class reads.
    """

    space: Name
    input_size: InputSize
    classes: Classes = 19
    batch: Batch = 1
    dtype: Dtype = "float32"
    parameters: Annotated[dict[str, Parameter], Field(max_length=limits.MAX_PARAMETERS)] = Field(default_factory=dict)
    genotype: Genotype

    @model_validator(mode="before")
    @classmethod
    def _from_earlier_releases(cls, value: Any) -> Any:
        return renewed(value) if is_flat(value) else value

    def __hash__(self) -> int:
        return hash(self.key())

    def key(self) -> str:
        """16 hex digits that name this architecture. Two that their space has completed have one key if they are equal."""
        return digest("architecture", self.model_dump(mode="json"), version=ARCHITECTURE_KEY_VERSION)

    def known_as(self, key: str) -> bool:
        """Whether that is this architecture's key, of this release or of those before the key's second version."""
        return key in (self.key(), former_key(self.model_dump(mode="json")))

    def space_spec(self) -> SpaceSpec:
        """The space with the parameters that the architecture states. Raises InvalidSpecError for a size that no space has."""
        fields = self.model_dump(include={"input_size", "classes", "batch", "dtype", "parameters"})
        return SpaceSpec.parse({"name": self.space, **fields})

    def label(self) -> str:
        """For people: space, first digits of the key, and input size."""
        height, width = self.input_size
        return f"{self.space} network {self.key()[:8]} @{height}×{width}"

    @property
    def input_shape(self) -> tuple[int, int, int, int]:
        """(batch, 3, height, width)."""
        return (self.batch, 3, *self.input_size)
