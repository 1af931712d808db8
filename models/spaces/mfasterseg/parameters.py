"""What M-FasterSeg's space adds to the parameters of FasterSeg's, and which of these its architectures record."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, StrictInt

from models.spaces.fasterseg.parameters import FasterSegParameters
from models.spec.architectures import ArchitectureSpec
from models.spec.base import Record

Flag = Annotated[StrictInt, Field(ge=0, le=1)]
Rounds = Annotated[StrictInt, Field(ge=1, le=4)]
Reduction = Annotated[StrictInt, Field(ge=1, le=64)]


class MFasterSegParameters(FasterSegParameters):
    """All parameters of an M-FasterSeg space: FasterSeg's, and where and how it attends.

    Attributes:
        branch_attention: 1 where each branch's output passes through attention before the head: in the supernet, in its latency
            and in the networks found (the paper's "output branch of the search module"); else 0.
        fused_attention: 1 where the fused map at 1/8 passes through attention before it is classified: in the networks alone,
            not in the supernet (the paper's "post-processing module in the training process"); else 0.
        rounds: of recurrences in four directions.
        reduction: of the gate for channels; the paper states none, SENet's is 16.
        shared: 1 where the four directions see one projection, 0 where each has its own.

    Source: M-FasterSeg, sections 3.1, 4.3.2 and 4.3.3.
    """

    branch_attention: Flag = 1
    fused_attention: Flag = 1
    rounds: Rounds = 2
    reduction: Reduction = 16
    shared: Flag = 1


class AttentionParameters(Record):
    """Those that an architecture records beside FasterSeg's; see `MFasterSegParameters`."""

    branch_attention: Flag = 1
    fused_attention: Flag = 1
    rounds: Rounds = 2
    reduction: Reduction = 16
    shared: Flag = 1

    @classmethod
    def of(cls, architecture: ArchitectureSpec) -> Self:
        """The architecture's; those that it does not state are the default space's.

        Raises:
            InvalidSpecError: names the parameter, its value and its limits.
        """
        stated = {name: value for name, value in architecture.parameters.items() if name in cls.model_fields}
        return cls.parse(stated, source="parameters")

    @classmethod
    def of_space(cls, parameters: MFasterSegParameters) -> Self:
        """The space's."""
        return cls(**{name: getattr(parameters, name) for name in cls.model_fields})


def with_attention(architecture: ArchitectureSpec, attention: AttentionParameters) -> ArchitectureSpec:
    """The architecture with these parameters."""
    return architecture.model_copy(update={"parameters": {**architecture.parameters, **attention.model_dump()}})


def without_attention(architecture: ArchitectureSpec) -> ArchitectureSpec:
    """The architecture with FasterSeg's parameters alone."""
    kept = {name: value for name, value in architecture.parameters.items() if name not in AttentionParameters.model_fields}
    return architecture.model_copy(update={"parameters": kept})
