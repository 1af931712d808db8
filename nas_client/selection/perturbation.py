"""Operators decided by what their removal costs the supernet, instead of by the highest α.

Source: Wang et al., Rethinking Architecture Selection in Differentiable NAS, ICLR 2021 (DARTS-PT). As there, rows are decided
in random order, each given those before it, and the weights of the operators that stay are not rescaled. There the supernet
is trained on between two decisions; here its weights stay as the search left them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from models.spec.base import Record
from models.spec.errors import InvalidSpecError
from models.supernets.base import Mixture
from nas_client.data.loading import split_halves
from nas_client.errors import CheckpointError, DatasetError
from nas_client.latency.parameters import ArchitectureParameters, GroupShapes, choice_counts
from nas_client.runs.checkpoints import Checkpoints
from nas_client.runs.processes import Processes
from nas_client.search.config import SearchConfig
from nas_client.search.cosearch import LAST
from nas_client.search.learner import Learner
from nas_client.search.progress import Position, RngKey, Stream
from nas_client.search.selection_images import selection_split
from nas_client.search.setup import SearchData, open_space
from nas_client.search.updates import SegmentationPass
from nas_client.selection.inputs import selection_config
from nas_client.selection.scoring import SupernetScorer
from nas_client.table import LookupTable

_STEP = 20.0
"""Between the logits of a decided row's operators, in the order of what their removal costs: each is e²⁰ times as probable as
the next, which only counts where a space's decoding must do without the first."""

Score = Callable[[Mixture], float]
"""What a mixture is worth: the supernet's mIoU."""


class DecidedRow(Record):
    """How a row of α was decided.

    Attributes:
        group, row: the row is counted within its group, as in a parameter file.
        highest: the column with the highest α.
        chosen: the column whose removal leaves the least mIoU; of equals that with the highest α.
        without: the supernet's mIoU without each column's operator.
    """

    group: str
    row: int
    highest: int
    chosen: int
    without: tuple[float, ...]

    @property
    def differs(self) -> bool:
        """Whether removal chose otherwise than α."""
        return self.chosen != self.highest

    @property
    def spread(self) -> float:
        """Between the removals that leave the most mIoU and the least: how much the row's choice matters to the supernet."""
        return max(self.without) - min(self.without)


class Perturbation(Record):
    """How operators were decided by their removal.

    Attributes:
        before, after: the supernet's mIoU as the mixture of all operators, and with one in each row.
        rows: those with several choices, in the order in which they were decided.
    """

    before: float
    after: float
    rows: tuple[DecidedRow, ...]


@dataclass(frozen=True)
class Perturbed:
    """A role's parameters, with operators decided by their removal.

    Attributes:
        searched: as the search left them.
        decided: with logits of α in the order of what removals cost.
        perturbation: how they were decided.
        images: on how many images.
    """

    searched: ArchitectureParameters
    decided: ArchitectureParameters
    perturbation: Perturbation
    images: int


def perturb(
    score: Score,
    mixture: Mixture,
    groups: GroupShapes,
    *,
    seed: int,
    watch: Callable[[int, int], None] | None = None,
) -> Perturbation:
    """Decide all rows of α.

    Args:
        score: evaluates the supernet as a mixture.
        mixture: of all operators.
        groups: of α, in the order of the mixture's rows.
        seed: the order of rows follows from it.
        watch: receives how many evaluations are done, and of how many.
    """
    counts = choice_counts(groups)
    places = [(group, row) for group, (rows, _) in groups.items() for row in range(rows)]
    several = [row for row, count in enumerate(counts) if count > 1]
    total, done = 2 + sum(counts[row] for row in several), 0

    def evaluated(alpha: torch.Tensor) -> float:
        nonlocal done
        value = score(replace(mixture, alpha=alpha, operators=tuple(operators)))
        done += 1
        if watch is not None:
            watch(done, total)
        return value

    alpha = mixture.alpha.detach().clone()
    operators: list[int | None] = [0 if count == 1 else None for count in counts]
    before = evaluated(alpha)
    found = []
    for index in RngKey(seed).rng(Stream.PERTURBATION).permutation(len(several)).tolist():
        row = several[index]
        weights: list[float] = alpha[row, : counts[row]].tolist()
        without = []
        for column in range(counts[row]):
            rest = alpha.clone()
            rest[row, column] = 0
            without.append(evaluated(rest))
        chosen = _order(without, weights)[0]
        found.append(
            DecidedRow(
                group=places[row][0],
                row=places[row][1],
                highest=max(range(len(weights)), key=weights.__getitem__),
                chosen=chosen,
                without=tuple(without),
            )
        )
        alpha[row] = 0
        alpha[row, chosen] = 1
        operators[row] = chosen
    return Perturbation(before=before, after=evaluated(alpha), rows=tuple(found))


def _order(without: Sequence[float], weights: Sequence[float]) -> list[int]:
    """Columns, that whose removal costs most first; of equals that with the greater weight."""
    return sorted(range(len(without)), key=lambda column: (without[column], -weights[column]))


def decided_parameters(parameters: ArchitectureParameters, perturbation: Perturbation) -> ArchitectureParameters:
    """The logits with those of α in the order of what removals cost."""
    alpha = parameters.alpha.detach().clone()
    found = replace(parameters, alpha=alpha, beta=parameters.beta.detach(), gamma=parameters.gamma.detach())
    for decided in perturbation.rows:
        logits = found.group("alpha", decided.group)[decided.row]
        for place, column in enumerate(_order(decided.without, logits.tolist())):
            logits[column] = -_STEP * place
    return found


def perturb_search(
    run: Path,
    table: LookupTable,
    *,
    role: str | None = None,
    images: int | None = None,
    processes: Processes | None = None,
    watch: Callable[[int, int], None] | None = None,
) -> Perturbed:
    """Decide the operators of a finished gradient search by their removal from its supernet.

    They are evaluated on training images that no weights were trained on: those of `selection_split`, of trainB, which α has
    seen. An mIoU is the mean over the alternatives that the search may end in. Paths are mixed as β says, and widths are the
    most probable ones. Each evaluation has statistics of batch normalisation of its own.

    Args:
        run: folder of the search.
        table: of its space.
        role: whose operators; those of the role that sees latency where None.
        images: on how many images; `selection.images` of the search where None.
        processes: among which images are shared.
        watch: as of `perturb`.

    Raises:
        RunFolderError: the folder holds no search.
        CheckpointError: the search has not ended; or its supernet is of another space than the table.
        InvalidSpecError: the search trained no mixture of operators, or a second phase went on with decided ones.
        UnknownNameError: there is no such role.
        MissingEntryError, TableMismatchError, DatasetError: table, data set and search do not fit together.
    """
    processes = processes or Processes()
    config = selection_config(run)
    _require_mixture(run, config)
    if images is not None:
        config = config.model_copy(update={"selection": config.selection.model_copy(update={"images": images})})
    space = open_space(config, table)
    whose = space.searched_role() if role is None else space.role(role)
    if not any(choices > 1 for _, choices in space.parameter_shapes()["alpha"].values()):
        raise InvalidSpecError(f"search space {space.name!r} has no operators to choose", hint="Decode without --perturb.")
    saved = Checkpoints(run).read(LAST)
    if not Position.of(saved["position"]).over:
        raise CheckpointError(f"{run}: the search has not ended", hint="Finish it with `nas-client search --resume`.")
    learner = Learner(config, space, table, processes)
    try:
        learner.restore(saved["learner"], "second")
    except RuntimeError as error:
        raise CheckpointError(
            f"{run}: its supernet is not that of {space.spec.label()}: {str(error).splitlines()[-1].strip()}",
            hint="Take a table of the search space that the search had.",
        ) from error
    network = learner.networks[whose.name]
    network.decided -= {"alpha"}  # by a second phase without epochs
    data = SearchData.open(config.model_copy(update={"check_data": False}), space, processes)  # checked by the search
    _require_images(len(data.train), config)
    known = space.alternatives()
    ends = tuple(label for label in learner.passes.alternatives if label in known) or learner.passes.alternatives
    passes = SegmentationPass(learner.supernet, ends, config, processes)
    scorer = SupernetScorer(passes, space, whose.name, data, *selection_split(len(data.train), config))

    def score(mixture: Mixture) -> float:
        values = [value for value in scorer.mean_ious(mixture, ends).values() if value is not None]
        if not values:
            raise DatasetError(
                f"none of the {config.selection.images} images has a labelled pixel", hint="Take more with --images."
            )
        return sum(values) / len(values)

    searched = network.joined
    found = perturb(score, network.most_probable_widths(), searched.shapes["alpha"], seed=config.seed, watch=watch)
    return Perturbed(searched, decided_parameters(searched, found), found, config.selection.images)


def _require_mixture(run: Path, config: SearchConfig) -> None:
    if config.method == "evolution":
        raise InvalidSpecError(
            f"{run}: a search by evolution trains no α, so that no operator can be removed from a mixture",
            hint="Select networks from it with `nas-client select`.",
        )
    if config.search.epochs and config.second.epochs and "alpha" in set(config.search.searches) - set(config.second.searches):
        raise InvalidSpecError(
            f"{run}: second.epochs is {config.second.epochs}: the second phase trained the operators that α had decided, and "
            "left the weights of the others behind",
            hint="Search with second.epochs 0, and decide operators there.",
        )


def _require_images(images: int, config: SearchConfig) -> None:
    most, wanted = len(split_halves(images, config.seed)[1]), config.selection.images
    if wanted > most:
        raise DatasetError(
            f"{wanted} images, of {most} in the second half of the training images", hint=f"State --images {most} or fewer."
        )
