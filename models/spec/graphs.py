"""What a backend builds: an isolated workload, an operator in its context, or that context's base. Also versions of graphs."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from models.spec import limits
from models.spec.architectures import ArchitectureSpec
from models.spec.base import Record, digest
from models.spec.errors import InvalidSpecError
from models.spec.kinds import kind_info
from models.spec.operators import Batch, Channels, Dtype, OperatorSpec, Side
from models.spec.sources import MOST_SOURCES

EXPORTER_VERSION = 1
"""Raised whenever the same module would be exported as another graph or filled with other weights."""

NETWORK_WEIGHTS_VERSION = 2
"""Raised whenever networks alone are filled with other weights: cached files of before are then made again. What networks take
does not depend on it, so neither targets nor keys name it.
"""

OPSET = 17
"""Version of ONNX's default operator set in graphs: all that is needed, and what TensorRT 8 on older boxes reads too."""

IR_VERSION = 8
"""Version of the file format: that of `OPSET`, which holds newer operator sets as well."""

BFLOAT16_OPSET = 22
"""The first in which convolution and pooling take bfloat16."""


def opset_of(dtype: Dtype) -> int:
    """The operator set of graphs of that dtype."""
    return BFLOAT16_OPSET if dtype == "bfloat16" else OPSET


PREFIX_CHANNELS = 4
"""Channels of the input in front of a prefix (docs/measurement.md)."""


class ContextBase(Record):
    """Prefix and suffix without an operator. Its time is subtracted from that of an operator in its context.

    The prefix is a 1×1 convolution from `PREFIX_CHANNELS` to `channels`, the suffix a global average. The base of a
    concatenation has one prefix for all sources together. That of any other join has a prefix for each source, and
    concatenates their averages (docs/measurement.md).

    Attributes:
        channels: of the prefix, of all prefixes together where there are several.
        height, width: of the input.
        batch: images per run.
        dtype: of everything.
        sources: channels of each prefix; empty where there is one.
        gate: what the second prefix makes, where that is no map: a gate of one value per `channel` or per `pixel`.
    """

    channels: Annotated[int, Field(ge=1, le=MOST_SOURCES * limits.MAX_CHANNELS)]
    height: Side
    width: Side
    batch: Batch = 1
    dtype: Dtype = "float32"
    sources: tuple[Channels, ...] = ()
    gate: Literal["", "channel", "pixel"] = ""

    @classmethod
    def of(cls, operator: OperatorSpec) -> Self:
        """The base of that operator's context."""
        channels, sources = operator.source_channels, kind_info(operator.kind).sources
        several = sources in ("alike", "gate")
        return cls.model_validate(
            {
                "channels": sum(channels) if several else operator.in_channels,
                "height": operator.height,
                "width": operator.width,
                "batch": operator.batch,
                "dtype": operator.dtype,
                "sources": channels if several else (),
                "gate": operator.attributes["gate"] if sources == "gate" else "",
            }
        )

    def key(self) -> str:
        """16 hex digits that name this base."""
        fields = self.model_dump(mode="json")
        return digest("context_base", {name: value for name, value in fields.items() if value not in ([], "")})

    def label(self) -> str:
        """For people: `base of 64 @16×32`, `base of 64+32 @16×32`."""
        channels = "+".join(map(str, self.sources or (self.channels,)))
        gate = f" gate={self.gate}" if self.gate else ""
        return f"base of {channels} @{self.height}×{self.width}{gate}"

    @property
    def input_shape(self) -> tuple[int, int, int, int]:
        """(batch, PREFIX_CHANNELS, height, width)."""
        return (self.batch, PREFIX_CHANNELS, self.height, self.width)


class OwnNetwork(Record):
    """A whole network of somebody's own, of no search space: an ONNX file, or a torch module.

    Attributes:
        name: the file's name, or where the module is: `package.module:Net`.
        sha256: of the ONNX file; empty for a module.
        input_shape: NCHW shape of its one input.
        dtype: of its input, weights and output.
    """

    name: Annotated[str, Field(min_length=1, max_length=256)]
    sha256: str = ""
    input_shape: tuple[Batch, Channels, Side, Side]
    dtype: Dtype = "float32"

    @property
    def is_module(self) -> bool:
        """Whether it is a torch module."""
        return not self.sha256

    def key(self) -> str:
        """16 hex digits that name this network. A module is named by its place, not by what it computes."""
        return digest("own_network", self.model_dump(mode="json"))

    def label(self) -> str:
        """For people: `net.onnx 1×3×512×1024`."""
        return f"{self.name} {'×'.join(map(str, self.input_shape))}"


def _subject_tag(value: Any) -> str:
    fields = value if isinstance(value, dict) else value.model_fields_set | set(type(value).model_fields)
    if "space" in fields:
        return "architecture"
    if "sha256" in fields or "input_shape" in fields:
        return "own"
    return "base" if "channels" in fields else "operator"


Subject = Annotated[
    Annotated[OperatorSpec, Tag("operator")]
    | Annotated[ArchitectureSpec, Tag("architecture")]
    | Annotated[ContextBase, Tag("base")]
    | Annotated[OwnNetwork, Tag("own")],
    Discriminator(_subject_tag),
]


class GraphRequest(Record):
    """One graph to build; its key names engines and cached graphs.

    Attributes:
        subject: what it is about.
        in_context: whether an operator stands between prefix and suffix; never set for other subjects.
    """

    subject: Subject
    in_context: bool = False

    @model_validator(mode="after")
    def _only_operators_have_context(self) -> Self:
        if self.in_context and not isinstance(self.subject, OperatorSpec):
            raise InvalidSpecError("only an operator can be built in context")
        return self

    def key(self) -> str:
        """16 hex digits that name this graph."""
        return digest("graph", [self.in_context, self.subject.key()])

    def version(self) -> str:
        """Of what is made for this graph; with `key` it names cached files."""
        weights = f"w{NETWORK_WEIGHTS_VERSION}" if isinstance(self.subject, ArchitectureSpec) else ""
        return f"v{EXPORTER_VERSION}{weights}"

    def label(self) -> str:
        """For people."""
        return f"{self.subject.label()} in context" if self.in_context else self.subject.label()

    @property
    def has_suffix(self) -> bool:
        """Whether a global average follows: in every context but that of an operator that ends a network."""
        if isinstance(self.subject, OperatorSpec):
            return self.in_context and not kind_info(self.subject.kind).ends_network
        return isinstance(self.subject, ContextBase)

    @property
    def input_shape(self) -> tuple[int, int, int, int]:
        """NCHW shape of the graph's one input."""
        n, c, h, w = self.subject.input_shape
        if isinstance(self.subject, OperatorSpec) and not self.in_context:
            c = isolated_channels(self.subject)
        return (n, PREFIX_CHANNELS if self.in_context else c, h, w)


def isolated_channels(operator: OperatorSpec) -> int:
    """Channels of the one input of an isolated operator. Several sources are parts of it, a gate is a part of the map."""
    gated = kind_info(operator.kind).sources == "gate"
    return operator.in_channels if gated else sum(operator.source_channels)
