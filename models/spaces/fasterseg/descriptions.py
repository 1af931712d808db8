"""FasterSeg's networks and decisions in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from models.networks.structure import NetworkPlan
from models.spaces.base import JointChoice, Probabilities
from models.spaces.fasterseg.decoding import most_probable, path_odds
from models.spaces.fasterseg.genotype import BranchSpec, FasterSegGenotype, NetworkParameters
from models.spaces.fasterseg.parameters import FULL_WIDTH, SCALES
from models.spec.architectures import ArchitectureSpec


def described(architecture: ArchitectureSpec, plan: NetworkPlan) -> tuple[str, ...]:
    """Branch by branch and cell by cell the operator, the downsample rates and the expansion ratio, with its plan.

    The ratio is that of the cell's output, in twelfths; that of the last cell is the head's. Cells that an earlier branch has
    are marked. The first line has the widths of stem and head, and what a space that builds on this one records besides.

    Source: FasterSeg, Table 7.
    """
    stated = {name: value for name, value in architecture.parameters.items() if name in NetworkParameters.model_fields}
    network = NetworkParameters.of(architecture.model_copy(update={"parameters": stated}))
    more = [f"{name} {value}" for name, value in architecture.parameters.items() if name not in stated]
    own = {step.name for step in plan.steps}
    lines = [", ".join([f"stem {network.stem_width}/{FULL_WIDTH}", f"head {network.head_width}/{FULL_WIDTH}", *more])]
    for index, branch in enumerate(FasterSegGenotype.of(architecture).branches):
        lines.append(f"branch that ends at 1/{branch.end}, {len(branch.operators)} cells:")
        lines.append(f"{'cell':>6}  {'operator':18} {'downsample':12} expansion")
        for cell, line in enumerate(_cells(branch, network.head_width)):
            note = "" if f"branch{index}_cell{cell}" in own else "   shared"
            lines.append(f"{cell:>6}  {line}{note}")
    return tuple(lines)


def _cells(branch: BranchSpec, head_width: int) -> Iterator[str]:
    scales, widths = (*branch.scales, branch.scales[-1]), (*branch.widths, head_width)
    for kind, (here, after), width in zip(branch.operators, pairwise(scales), widths, strict=True):
        rates = f"1/{here}" if here == after else f"1/{here} → 1/{after}"
        yield f"{kind:18} {rates:12} {width:>2}/{FULL_WIDTH}"


def path_choice(layers: int, probabilities: Probabilities, end: int) -> JointChoice:
    """Where the branch that ends at that scale downsamples, and how probable the next best way is."""
    odds = path_odds(layers, probabilities, end)
    chosen = most_probable(odds)
    others = {entered: odd for entered, odd in odds.items() if entered != chosen}
    second = max(others, key=others.__getitem__, default=())
    return JointChoice(
        what=f"where the branch to 1/{end} downsamples",
        count=len(odds),
        chosen=_entries(chosen),
        probability=odds[chosen],
        second=_entries(second),
        second_probability=others.get(second, 0.0),
    )


def _entries(entered: Sequence[int]) -> str:
    return ", ".join(f"1/{scale} from layer {layer}" for layer, scale in zip(entered, SCALES[1:], strict=False))
