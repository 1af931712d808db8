"""What one operator is: its kind, its fixed shapes, and the key that names it everywhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property
from math import prod
from typing import Annotated, Literal, Self

from pydantic import Field, StrictInt, field_validator, model_validator

from models.spec import limits
from models.spec.base import Record, canonical_json, digest, digest_text, short_digest
from models.spec.bounds import Bounds, Sizes
from models.spec.errors import InvalidSpecError, UnknownNameError, WorkloadTooLargeError
from models.spec.kinds import AttributeValue, kind_info
from models.spec.sources import MapShape, source_channels, source_shapes

Dtype = Literal["float32", "float16", "bfloat16"]
DTYPE_BYTES: dict[str, int] = {"float32": 4, "float16": 2, "bfloat16": 2}

Shape = tuple[int, int, int, int]
"""in_channels, out_channels, height, width."""

_IN_LABEL = frozenset({"sources", "to_height", "to_width"})
"""Attributes that a label shows at the channels or at the size."""

_SHAPE = ("in_channels", "out_channels", "height", "width")

Channels = Annotated[StrictInt, Field(ge=1, le=limits.MAX_CHANNELS)]
Side = Annotated[StrictInt, Field(ge=1, le=limits.MAX_SIDE)]
Batch = Annotated[StrictInt, Field(ge=1, le=limits.MAX_BATCH)]


class OperatorSpec(Record):
    """One candidate layer at fixed shapes.

    Attributes:
        kind: name of the operator kind.
        in_channels, out_channels: channels of the input and of the output. Of several sources that are concatenated,
            `in_channels` is the sum; where they are alike, the channels of each.
        height, width: height and width of the input.
        stride: factor by which the operator reduces height and width.
        batch: images per run.
        dtype: data type of weights, inputs and arithmetic: `float32`, `float16` or `bfloat16`.
        attributes: other properties of the graph, by name. Absent ones take the kind's defaults: equal graphs have equal
            keys.

    Shape: inputs `source_shapes`, for most kinds one, (batch, in_channels, height, width); output `output_shape`.

    Raises (from `parse`):
        InvalidSpecError: a field is out of bounds, or the kind does not allow it.
    """

    kind: str
    in_channels: Channels
    out_channels: Channels
    height: Side
    width: Side
    stride: Annotated[StrictInt, Field(ge=1, le=8)] = 1
    batch: Batch = 1
    dtype: Dtype = "float32"
    attributes: dict[str, AttributeValue] = Field(default_factory=dict)

    @field_validator("kind")
    @classmethod
    def _known_kind(cls, kind: str) -> str:
        kind_info(kind)
        return kind

    @field_validator("dtype", mode="before")
    @classmethod
    def _known_dtype(cls, dtype: object) -> object:
        if isinstance(dtype, str) and dtype not in DTYPE_BYTES:
            raise UnknownNameError.of("dtype", dtype, DTYPE_BYTES)
        return dtype

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        info = kind_info(self.kind)
        attributes = info.complete(self.attributes)
        if self.stride not in info.strides:
            allowed = ", ".join(map(str, info.strides))
            raise InvalidSpecError(f"stride {self.stride} is not one of {allowed} for kind {self.kind!r}")
        if info.keeps_channels and self.in_channels != self.out_channels:
            raise InvalidSpecError(
                f"kind {self.kind!r} keeps its channels, but in_channels is {self.in_channels} "
                f"and out_channels {self.out_channels}"
            )
        if info.narrows and self.out_channels > self.in_channels:
            raise InvalidSpecError(
                f"out_channels {self.out_channels} of kind {self.kind!r} must be at most in_channels, {self.in_channels}"
            )
        for name, value in info.differing(attributes).items():
            if not info.attributes[name].goes_with(self.stride):
                raise InvalidSpecError(
                    f"attribute {name!r} of kind {self.kind!r} is {value!r} with stride {self.stride}; it is possible "
                    f"only with stride {', '.join(map(str, info.attributes[name].strides))}",
                    hint=f"Leave {name!r} out.",
                )
        groups = int(attributes.get("groups", 1))
        for name, channels in (("in_channels", self.in_channels), ("out_channels", self.out_channels)):
            if channels % groups:
                raise InvalidSpecError(f"{name} {channels} is not divisible by groups {groups}")
        object.__setattr__(self, "attributes", attributes)
        source_channels(self.kind, info.sources, attributes, self.in_channels)
        if 0 in (attributes.get("to_height"), attributes.get("to_width")):
            raise InvalidSpecError(
                f"attributes 'to_height' and 'to_width' of kind {self.kind!r} are {attributes['to_height']} and "
                f"{attributes['to_width']}; both are needed",
                hint="State the height and width of the output.",
            )
        self._check_size()
        return self

    def _check_size(self) -> None:
        """Raises WorkloadTooLargeError if memory or multiply-adds exceed the limits."""
        bounds = self.bounds
        maps = sum(map(prod, self.source_shapes)) + bounds.inner + prod(self.output_shape)
        size = (maps + bounds.weights) * DTYPE_BYTES[self.dtype]
        if size > limits.MAX_WORKLOAD_BYTES:
            raise _too_large("memory", size, limits.MAX_WORKLOAD_BYTES, "bytes")
        if bounds.macs > limits.MAX_WORKLOAD_MACS:
            raise _too_large("arithmetic", bounds.macs, limits.MAX_WORKLOAD_MACS, "multiply-adds")

    @property
    def bounds(self) -> Bounds:
        """Upper bounds of its weights, inner maps and arithmetic, as its kind states them, without the module."""
        info, (_, _, height, width) = kind_info(self.kind), self.output_shape
        return info.bounds(
            Sizes(
                in_channels=self.in_channels,
                out_channels=self.out_channels,
                widest=max(self.in_channels, self.out_channels),
                in_pixels=self.height * self.width,
                out_pixels=height * width,
                batch=self.batch,
                attributes=self.attributes,
                keeps_width_inside=info.keeps_width_inside,
                has_weights=self._has_weights,
            )
        )

    @property
    def _has_weights(self) -> bool:
        info = kind_info(self.kind)
        unchanged = self.input_shape == self.output_shape
        return info.has_weights and not (info.identity_if_unchanged and unchanged)

    @property
    def input_shape(self) -> tuple[int, int, int, int]:
        """(batch, in_channels, height, width)."""
        return (self.batch, self.in_channels, self.height, self.width)

    @property
    def source_channels(self) -> tuple[int, ...]:
        """Channels of each source: `(in_channels,)` for most kinds."""
        return source_channels(self.kind, kind_info(self.kind).sources, self.attributes, self.in_channels)

    @property
    def source_shapes(self) -> tuple[MapShape, ...]:
        """NCHW shape of each source: `(input_shape,)` for most kinds."""
        return source_shapes(kind_info(self.kind).sources, self.attributes, self.source_channels, self.input_shape)

    @property
    def output_shape(self) -> tuple[int, int, int, int]:
        """(batch, out_channels, height, width), halved (rounded up) by the stride or grown by the kind's scale; or the size
        that attributes `to_height` and `to_width` name.
        """
        if "to_height" in self.attributes:
            return (self.batch, self.out_channels, int(self.attributes["to_height"]), int(self.attributes["to_width"]))
        scale = int(self.attributes.get("scale", 1))
        height, width = (-(-side * scale // self.stride) for side in (self.height, self.width))
        return (self.batch, self.out_channels, height, width)

    @cached_property
    def _key(self) -> str:
        return digest("operator", self.model_dump(mode="json"))

    def __hash__(self) -> int:
        """By key, as attributes are a dictionary."""
        return hash(self._key)

    def key(self) -> str:
        """16 hex digits that name this operator; the same on every machine and in every release of one key version."""
        return self._key

    def label(self) -> str:
        """For people: `zoomed_conv3x3_x2 64→96 @128×256 /1`, then what differs from the kind's defaults. Joins are
        `concat 64+32→96 @32×64` and `resize 64→64 @16×32→32×64`.
        """
        return self._label_of(self._shape, self._label_end)

    @property
    def _shape(self) -> Shape:
        return (self.in_channels, self.out_channels, self.height, self.width)

    def _label_of(self, shape: Shape, end: str) -> str:
        in_channels, out_channels, height, width = shape
        given, size, sources = str(in_channels), f"{height}×{width}", kind_info(self.kind).sources
        if sources in ("parts", "alike"):
            channels = source_channels(self.kind, sources, self.attributes, in_channels)
            given = "+".join(map(str, channels))
        if "to_height" in self.attributes:
            size += "→{to_height}×{to_width}".format(**self.attributes)
        stride = "" if sources != "one" or "to_height" in self.attributes else f" /{self.stride}"
        return f"{self.kind} {given}→{out_channels} @{size}{stride}{end}"

    @property
    def _label_end(self) -> str:
        extras = kind_info(self.kind).differing(self.attributes)
        extras = {name: value for name, value in extras.items() if name not in _IN_LABEL}
        if self.batch != 1:
            extras["batch"] = self.batch
        if self.dtype != "float32":
            extras["dtype"] = self.dtype
        return "".join(f" {name}={value}" for name, value in extras.items())

    def identities(self, shapes: Iterable[Shape]) -> Iterator[tuple[str, str]]:
        """Key and label of each operator that differs from this one in its channels and its input's size alone.

        For tables of many thousand operators: none of these operators is made, and the shapes are not checked.
        """
        marks = {name: f"\0{name}" for name in _SHAPE}
        text = digest_text("operator", self.model_dump(mode="json") | marks).replace("%", "%%")
        order = sorted(_SHAPE, key=lambda name: text.index(canonical_json(marks[name])))
        for mark in marks.values():
            text = text.replace(canonical_json(mark), "%d")
        place = [_SHAPE.index(name) for name in order]
        end = self._label_end
        for shape in shapes:
            yield short_digest(text % tuple(shape[index] for index in place)), self._label_of(shape, end)


def _too_large(what: str, value: int, limit: int, unit: str) -> WorkloadTooLargeError:
    return WorkloadTooLargeError(f"this workload's {what} is about {value:.3g} {unit}; the limit is {limit:.3g}")
