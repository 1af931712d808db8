"""What a search space's authors published of their measurements, in our terms."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from models.spec.architectures import ArchitectureSpec, SpaceSpec
from models.spec.measurements import ProtocolName
from models.spec.operators import Dtype, OperatorSpec


@dataclass(frozen=True)
class PublishedTable:
    """Published measurements of a search space. The target is given on import.

    Attributes:
        space: search space and input size, with all parameters.
        entries: each operator with its milliseconds, in the file's order, no operator twice. An operator may lie outside
            the space's grid.
        protocol: the protocol of ours that comes nearest to how they were taken.
        provenance: notes for readers, above all where the measurements differ from the operators' keys.
    """

    space: SpaceSpec
    entries: tuple[tuple[OperatorSpec, float], ...]
    protocol: ProtocolName
    provenance: Mapping[str, str]


class PublishedReader(ABC):
    """A search space whose authors published tables, in a format of their own; `registry.published_readers` lists them."""

    name: ClassVar[str]
    published_format: ClassVar[str]
    """What `read_published` reads, for people: one line."""

    @classmethod
    @abstractmethod
    def read_published(cls, path: Path) -> PublishedTable:
        """The table in that file. Runs nothing that the file names.

        Raises:
            TableFileError: the file is no such table, or is cut short.
            UnsafeTableError: it is a pickle that names something other than plain containers and numbers.
        """


class ParameterReader(ABC):
    """A search space whose authors published architecture parameters, in files of their own format."""

    parameter_suffixes: ClassVar[tuple[str, ...]]
    """How the names of these files end: `.pt`."""

    @classmethod
    @abstractmethod
    def read_published_parameters(cls, path: Path) -> Mapping[str, Mapping[str, list[list[float]]]]:
        """The logits in that file, as in a parameter file. Runs nothing that the file names.

        Raises:
            InvalidSpecError: it is no such file, or is cut short, or names something other than tensors and numbers.
            OSError: it cannot be read.
        """


@dataclass(frozen=True)
class PublishedOperator:
    """One operator of a paper's comparison, with the numbers printed there.

    Attributes:
        name: as the paper calls it.
        operator: ours that comes nearest.
        ms: latency. gflops, megaparameters: arithmetic and weights, in units of 10⁹ and 10⁶.
        receptive_field: relative to the first operator's.
        differs: what explains those of its numbers that are not ours; empty where all agree.
    """

    name: str
    operator: OperatorSpec
    ms: float
    gflops: float
    megaparameters: float
    receptive_field: float
    differs: str = ""


@dataclass(frozen=True)
class AblationRow:
    """One row of a paper's ablation of its search: what is searched and trained, with the numbers printed there.

    Attributes:
        name: as the paper calls it.
        space: that is searched; its operators are some of the whole space's.
        pruned: whether it is the teacher of that search at its narrowest widths, rather than the role that sees latency.
        distilled: whether it is trained under that teacher.
        mean_iou, fps: accuracy as a fraction, and frames a second.
        gflops, megaparameters: arithmetic and weights, in units of 10⁹ and 10⁶.
    """

    name: str
    space: SpaceSpec
    pruned: bool
    distilled: bool
    mean_iou: float
    fps: float
    gflops: float
    megaparameters: float


class AblationStudy(ABC):
    """A search space whose authors showed what each part of their search is worth."""

    @abstractmethod
    def ablation(self) -> tuple[AblationRow, ...]:
        """The paper's rows, in its order, for this space's own input size.

        Raises:
            InvalidSpecError: this space has not what a row needs; names it.
        """

    @abstractmethod
    def narrowest(self, architecture: ArchitectureSpec) -> ArchitectureSpec:
        """The same network with the narrowest connections, and with stem and head of the role that sees latency."""


class OperatorComparison(ABC):
    """A search space whose authors compared single operators; `registry.operator_comparisons` lists them."""

    name: ClassVar[str]
    comparison_command: ClassVar[str]
    """Name of the command that measures the same operators here."""
    comparison_title: ClassVar[str]
    """What was compared, where and on what, for people: one line."""

    @classmethod
    @abstractmethod
    def published_operators(cls, dtype: Dtype) -> tuple[PublishedOperator, ...]:
        """The paper's operators, in its order, to be measured in that dtype."""
