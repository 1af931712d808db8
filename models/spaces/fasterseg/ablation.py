"""What FasterSeg's authors found each part of their search to be worth: Table 3 of the paper."""

from __future__ import annotations

from models.spaces.fasterseg.genotype import FasterSegGenotype, architecture_of
from models.spaces.fasterseg.parameters import FasterSegParameters
from models.spaces.published import AblationRow
from models.spec.architectures import ArchitectureSpec, Parameter, SpaceSpec
from models.spec.errors import InvalidSpecError

FIXED_WIDTH = 8
"""χ of the rows that do not search it."""

BRANCHES = 2
"""b of all rows but the first."""


def ablation_rows(spec: SpaceSpec, parameters: FasterSegParameters) -> tuple[AblationRow, ...]:
    """The table's rows for a space at its own input size. Its FLOPs are multiply-adds.

    Args:
        spec: of the space, complete.
        parameters: the space's.

    Raises:
        InvalidSpecError: the fixed expansion ratio is none of the space's; names the parameter.
    """
    have = {"widths": parameters.widths, "stem_width": parameters.stem_widths, "head_width": parameters.head_widths}
    for name, widths in have.items():
        if FIXED_WIDTH not in widths:
            raise InvalidSpecError(
                f"{name}: {', '.join(map(str, widths))}; rows of the ablation have an expansion ratio of {FIXED_WIDTH}",
                hint=f"Take a space whose widths, stem and head have {FIXED_WIDTH} too.",
            )

    def space(**changes: Parameter) -> SpaceSpec:
        settled = FasterSegParameters.of(spec.model_copy(update={"parameters": {**spec.parameters, **changes}}))
        return spec.model_copy(update={"parameters": settled.model_dump()})

    one, two = (space(branches=branches, widths=(FIXED_WIDTH,)) for branches in (1, BRANCHES))
    whole = space(branches=BRANCHES)
    return (
        AblationRow("O, s | χ = 8, b = 1", one, False, False, 0.669, 177.8, 27.0, 6.3),
        AblationRow("O, s | χ = 8, b = 2", two, False, False, 0.695, 119.9, 42.8, 10.8),
        AblationRow("O, s, χ | b = 2 (student)", whole, False, False, 0.705, 163.9, 28.2, 4.4),
        AblationRow("teacher, pruned", whole, True, True, 0.661, 146.7, 29.5, 4.7),
        AblationRow("student, distilled (FasterSeg)", whole, False, True, 0.731, 163.9, 28.2, 4.4),
    )


def narrowest(spec: SpaceSpec, parameters: FasterSegParameters, architecture: ArchitectureSpec) -> ArchitectureSpec:
    """The same cells with the least expansion ratio between them, and with the stem and head of the space's student."""
    least = parameters.widths[0]
    branches = [
        branch.model_copy(update={"widths": (least,) * len(branch.widths)})
        for branch in FasterSegGenotype.of(architecture).branches
    ]
    return architecture_of(spec, parameters, branches)
