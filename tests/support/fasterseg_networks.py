"""FasterSeg architectures in tests, by their branches."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from models.spaces.fasterseg.genotype import BranchSpec, FasterSegGenotype
from models.spaces.registry import completed
from models.spec.architectures import ArchitectureSpec


def branches_of(architecture: ArchitectureSpec) -> tuple[BranchSpec, ...]:
    """Its branches."""
    return FasterSegGenotype.of(architecture).branches


def with_branches(architecture: ArchitectureSpec, branches: Iterable[BranchSpec]) -> ArchitectureSpec:
    """The same architecture with other branches."""
    genotype = {"branches": [branch.model_dump() for branch in branches]}
    return ArchitectureSpec.parse(architecture.model_dump() | {"genotype": genotype})


def network(*branches: BranchSpec, input_size: tuple[int, int], **fields: Any) -> ArchitectureSpec:
    """An architecture; `fields` are parameters, or other fields of the record."""
    outside = {name: fields.pop(name) for name in ("classes", "batch", "dtype") if name in fields}
    genotype = {"branches": [branch.model_dump() for branch in branches]}
    given = {"space": "fasterseg", "input_size": input_size, "parameters": fields, "genotype": genotype, **outside}
    return completed(ArchitectureSpec.parse(given))


def label(ends: Iterable[int]) -> str:
    """Branches that end at those scales, as an alternative of the space."""
    return ",".join(map(str, ends))
