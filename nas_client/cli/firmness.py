"""How firmly searched parameters decide, as `derive` prints it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table as Grid

from models.spaces.base import LETTERS, DecodeOptions, JointChoice, Role, SearchSpace
from models.terminal import people

if TYPE_CHECKING:
    from nas_client.latency.parameters import ArchitectureParameters
    from nas_client.search.firmness import Firmness

MOST_TIES = 3
"""Of a granularity that are named to people."""


@dataclass(frozen=True)
class Decisions:
    """How firmly rows of parameters decide, what they choose together, and by alternative which rows its network uses."""

    space: SearchSpace
    firmness: Sequence[Firmness]
    joint: Sequence[JointChoice]
    rows: Mapping[str, Mapping[str, Mapping[str, Sequence[int]]]]

    @classmethod
    def of(
        cls,
        parameters: ArchitectureParameters,
        space: SearchSpace,
        alternatives: Iterable[str],
        *,
        role: Role,
        options: DecodeOptions,
        searched: ArchitectureParameters | None = None,
    ) -> Decisions:
        """Those of the parameters, decoded for that role by these options into these alternatives. How firmly is said of
        `searched`, where others decide.
        """
        from nas_client.search.derivation import probabilities
        from nas_client.search.firmness import firmness

        given = probabilities(parameters)
        rows = {label: space.deciding_rows(given, alternative=label, role=role, options=options) for label in alternatives}
        return cls(space, firmness(searched or parameters, space), space.joint_choices(given, options), rows)

    def document(self) -> dict[str, Any]:
        """For `--json`."""
        by_granularity = {
            one.granularity: one.model_dump(mode="json", exclude={"granularity"}) | {"nearly_random": one.nearly_random}
            for one in self.firmness
        }
        return {
            "firmness": by_granularity,
            "joint_choices": [{**asdict(choice), "tied": choice.tied} for choice in self.joint],
        }

    def show(self, console: Console) -> None:
        """For people."""
        from nas_client.search.firmness import CLOSE_GAP

        grid = Grid(box=None, pad_edge=False)
        for heading in ("how firmly", "entropy\n(nats)", "at most\n(nats)", "rows", f"best two\nwithin {CLOSE_GAP}", "ties"):
            grid.add_column(heading, justify="left" if heading == "how firmly" else "right", no_wrap=True)
        for one in self.firmness:
            numbers = (f"{one.entropy:.3f}", f"{one.entropy_maximum:.3f}")
            counts = (len(one.gaps), one.close_rows, len(one.ties))
            grid.add_row(self._name(one), *numbers, *map(str, counts))
        if self.firmness:
            console.print("", grid, sep="\n")
        for choice in self.joint:
            second = f"; next {choice.second}, {choice.second_probability:.3g}" if choice.second else ""
            first = f"{choice.chosen}, probability {choice.probability:.3g} of {choice.count} ways"
            console.print(f"{choice.what}: {first}{second}", markup=False)
        for label, rows in self.rows.items():
            gaps = [f"{self._name(one)} {_least_and_median(one, rows)}" for one in self.firmness if one.granularity in rows]
            if gaps:
                console.print(f"{label or 'all'}: least and median gap of its rows, in logit: {'; '.join(gaps)}", markup=False)

    def warn(self) -> None:
        """To stderr: which choices are close to chance, and which a rule made between equals."""
        console = people()
        for line in (*self._nearly_random(), *self._ties()):
            console.print(line, style="yellow", markup=False)

    def _nearly_random(self) -> Iterator[str]:
        for one in self.firmness:
            if one.nearly_random:
                yield (
                    f"{self._name(one)}: decoding is close to chance: probabilities lie {one.learned:.2g} nats (mean "
                    "divergence) from equal ones or from those that a search starts with, and the best two choices of "
                    f"{one.close_rows} of {len(one.gaps)} rows are nearly equal"
                )

    def _ties(self) -> Iterator[str]:
        names = self.space.choice_names()
        for one in self.firmness:
            name, columns = self._name(one), names.get(one.granularity, ())
            for row in one.ties[:MOST_TIES]:
                where = f"row {row.row}" + (f" of group {row.group!r}" if row.group else "")
                yield f"{name}: tie in {where}: {column_name(columns, row.choice)} and {column_name(columns, row.second)}"
            if len(one.ties) > MOST_TIES:
                yield f"{name}: ties in {len(one.ties) - MOST_TIES} more rows; --json has the gap of each"
        for choice in self.joint:
            if choice.tied:
                yield f"{choice.what}: tie: {choice.chosen}, and {choice.second}"

    def _name(self, one: Firmness) -> str:
        return f"{self.space.granularity_labels[one.granularity]} ({LETTERS[one.granularity]})"


def _least_and_median(one: Firmness, rows: Mapping[str, Mapping[str, Sequence[int]]]) -> str:
    used = rows[one.granularity]
    gaps = [row.gap for row in one.gaps if row.row in used.get(row.group, ())]
    return f"{min(gaps):.3f} and {median(gaps):.3f}" if gaps else "none"


def column_name(names: Sequence[str], column: int) -> str:
    """What a column is called, or its number where it has no name."""
    return names[column] if column < len(names) else f"choice {column}"
