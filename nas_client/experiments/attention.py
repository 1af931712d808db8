"""Does attention help, where it is searched with, where networks are trained with it, or both? Four cells, two by two.

For each seed there are two searches, without attention and with it on the branches. Of the networks that each found, two
trainings follow, without attention and with it on the fused map: of the teacher, if the space has one, then of the student
under it. All else is the same: the seed, the data, and λ.

Source: M-FasterSeg, sections 4.3.2 to 4.3.4, Figures 8 and 9, Tables 1 and 2.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, product
from pathlib import Path
from statistics import fmean
from typing import Literal, Unpack

from models.spaces.registry import create_space, read_architecture
from models.spec.base import Record
from models.spec.errors import InvalidSpecError
from models.spec.table_files import TableFormat, write_table
from models.spec.tables import Table
from nas_client.experiments import collapse, random_networks
from nas_client.experiments.execution import Command, Execution, carry_out
from nas_client.experiments.presets import configured
from nas_client.experiments.results import TRAIN_AGAIN, Measure, TrainedNetwork, latencies_of, read_trained
from nas_client.experiments.runs import Search, Training, search_commands, training_commands
from nas_client.experiments.spread import Spread
from nas_client.search.config import SearchConfig
from nas_client.search.setup import open_space
from nas_client.table import LookupTable
from nas_client.train.config import TrainConfig
from nas_client.train.evaluation import MeasuredSpeed

SEARCHED, TRAINED = "branch_attention", "fused_attention"
"""The parameters of a space that place attention in its search, and in the networks that are trained."""

Preset = Literal["cpu", "gpu"]
Placement = tuple[bool, bool]
"""Whether there is attention in the search, and in training."""

PLACEMENTS: tuple[Placement, ...] = tuple(product((False, True), (False, True)))


class AttentionConfig(Record):
    """The configuration of all runs, but for their seeds."""

    search: SearchConfig
    training: TrainConfig


class AttentionCell(Record):
    """One of the four cells.

    Attributes:
        searched, trained: whether there is attention in the search, and in training.
        students, teachers: one for each seed; no teachers where the space has no second role.
        mean_iou, estimate_ms: of the students.
        loss: of the students' trainings, with all its parts; None in results of before.
        speeds: of the students, in their order; empty where one was not measured, then `speed_missing` says why.
        measured_ms: of the students; None where one was not measured.
        teacher_mean_iou: None without teachers.
    """

    searched: bool
    trained: bool
    students: tuple[TrainedNetwork, ...]
    teachers: tuple[TrainedNetwork, ...]
    mean_iou: Spread
    estimate_ms: Spread
    teacher_mean_iou: Spread | None
    loss: Spread | None = None
    speeds: tuple[MeasuredSpeed, ...] = ()
    speed_missing: str = ""
    measured_ms: Spread | None = None


class AttentionResult(Record):
    """The experiment's result (`attention.json`). mIoU everywhere is that after the last epoch.

    Attributes:
        table, target, space: which latencies.
        seeds: of the searches and trainings.
        searched_gain, trained_gain: what attention there adds to the students' mIoU, over seeds; the mean over the other
            placement's two values.
    """

    table: str
    target: str
    space: str
    seeds: tuple[int, ...]
    config: AttentionConfig
    cells: tuple[AttentionCell, ...]
    searched_gain: Spread
    trained_gain: Spread


def attention(
    table: LookupTable,
    folder: Path,
    config: AttentionConfig,
    *,
    seeds: int = 3,
    measure: Measure | None = None,
    **how: Unpack[Execution],
) -> AttentionResult | None:
    """Run what is not done yet, measure the students, and compare all of it; None where it was stopped.

    Args:
        table: complete, of a search space with both placements.
        folder: gets a folder per seed, with two searches and the trainings of four cells.
        config: of all runs.
        seeds: how many; 0, 1, ….
        measure: called for each student after the trainings, so that they do not disturb it; none is measured where None.
        how: see `Execution`.

    Raises:
        InvalidSpecError: the table's search space does not have both placements.
        RunFolderError, ExperimentError: see `carry_out`.
        MissingEntryError: the table is not complete.
    """
    tables = {placement: placed_table(table, placement) for placement in PLACEMENTS}
    open_space(config.search, table)

    def searches() -> Iterator[Command]:
        for searched in (False, True):
            file = _table_file(folder, searched)
            file.parent.mkdir(exist_ok=True)
            write_table(tables[searched, False].table, file, TableFormat.ARROW)
        return search_commands(_search(folder, config, *run) for run in product(range(seeds), (False, True)))

    def trainings() -> Iterator[Command]:
        for seed in range(seeds):
            seeded = config.training.model_copy(update={"seed": seed})
            runs = chain(*(_trainings(folder, seed, placement, table) for placement in PLACEMENTS))
            yield from training_commands(seeded, folder / f"seed{seed}" / "training.yaml", runs)

    if not carry_out(folder, "attention", table, config, [searches, trainings], **how):
        return None
    cells = tuple(_cell(folder, placement, seeds, tables[placement], measure) for placement in PLACEMENTS)
    return _result(cells, table, config, seeds)


def placed_table(table: LookupTable, placement: Placement) -> LookupTable:
    """The same measurements as a table of the space with attention in these places.

    Raises:
        InvalidSpecError: the table's search space does not have both placements.
    """
    space = table.info.space
    for name in (SEARCHED, TRAINED):
        if space.parameters.get(name) != 1:
            raise InvalidSpecError(
                f"{table.label()}: parameter {name} of its search space is {space.parameters.get(name, 'unknown')}; "
                f"this experiment needs a table with attention in both places",
                hint="M-FasterSeg's space has both by default; `nas-client spaces` lists the spaces.",
            )
    parameters = {**space.parameters, **{name: int(there) for name, there in zip((SEARCHED, TRAINED), placement, strict=True)}}
    placed = create_space(space.model_copy(update={"parameters": parameters}))
    keys = {operator.key() for operator in placed.operators()}
    info = table.info.model_copy(update={"space": placed.spec})
    return LookupTable(Table(info=info, entries=tuple(entry for entry in table.table.entries if entry.key() in keys)))


def preset_config(preset: Preset, table: LookupTable, overrides: Sequence[str] = ()) -> AttentionConfig:
    """The preset's configuration, with overrides: `search.pretrain.epochs=5`, `training.epochs=10`.

    λ is that which the experiment on collapse takes for the space without attention, for all searches alike.

    Raises:
        InvalidSpecError: an override is none of the configuration's, or states a seed; or the table's space does not have both
            placements.
        MissingEntryError: the table is not complete.
    """
    latency = collapse.published_latency(placed_table(table, (False, False)))
    fields = {"search": {**collapse.PRESETS[preset], "latency": latency}, "training": random_networks.PRESETS[preset]}
    return configured(AttentionConfig, table.info.space.name, fields, overrides)


def _table_file(folder: Path, searched: bool) -> Path:
    return folder / "tables" / f"{_word(searched)}.arrow"


def _word(there: bool) -> str:
    return "attention" if there else "plain"


def _search(folder: Path, config: AttentionConfig, seed: int, searched: bool) -> Search:
    seeded = config.search.model_copy(update={"seed": seed})
    return Search(_search_folder(folder, seed, searched), seeded, _table_file(folder, searched))


def _search_folder(folder: Path, seed: int, searched: bool) -> Path:
    return folder / f"seed{seed}" / f"search_{_word(searched)}"


def _trainings(folder: Path, seed: int, placement: Placement, table: LookupTable) -> list[Training]:
    """A cell's: the teacher's, if there is one, and the student's under it. Their networks are what the search found."""
    searched, trained = placement
    space, runs = create_space(table.info.space), list[Training]()
    student = space.searched_role().name
    teachers = [role.name for role in space.roles() if role.name != student]
    for role in (*teachers[:1], student):
        path = _search_folder(folder, seed, searched) / f"{role}.json"
        found = read_architecture(path.read_bytes(), str(path))
        network = found.model_copy(update={"parameters": {**found.parameters, TRAINED: int(trained)}})
        run = folder / f"seed{seed}" / f"{_word(searched)}_{_word(trained)}" / role
        runs.append(Training(run, network, teacher=runs[0] if runs else None))
    return runs


def _cell(folder: Path, placement: Placement, seeds: int, table: LookupTable, measure: Measure | None) -> AttentionCell:
    trainings = [_trainings(folder, seed, placement, table) for seed in range(seeds)]
    *others, students = (
        tuple(read_trained(one.run, one.network, table, TRAIN_AGAIN) for one in of_role)
        for of_role in zip(*trainings, strict=True)
    )
    teachers = others[0] if others else ()
    found = ["no service was asked" if measure is None else measure(of_seed[-1].network) for of_seed in trainings]
    speeds = tuple(speed for speed in found if not isinstance(speed, str))
    measured = len(speeds) == seeds
    return AttentionCell(
        searched=placement[0],
        trained=placement[1],
        students=students,
        teachers=teachers,
        mean_iou=Spread.of([network.mean_iou for network in students]),
        estimate_ms=Spread.of([network.estimate_ms for network in students]),
        teacher_mean_iou=Spread.of([network.mean_iou for network in teachers]) if teachers else None,
        loss=Spread.of([network.loss for network in students if network.loss is not None]),
        speeds=speeds if measured else (),
        speed_missing="; ".join(sorted({speed for speed in found if isinstance(speed, str)})),
        measured_ms=Spread.of([speed.latency_ms for speed in speeds]) if measured else None,
    )


def _result(cells: tuple[AttentionCell, ...], table: LookupTable, config: AttentionConfig, seeds: int) -> AttentionResult:
    def gain(there: Sequence[AttentionCell], not_there: Sequence[AttentionCell]) -> Spread:
        with_it, without = ([fmean(c.mean_iou.values[s] for c in side) for s in range(seeds)] for side in (there, not_there))
        return Spread.of([one - other for one, other in zip(with_it, without, strict=True)])

    return AttentionResult(
        **latencies_of(table),
        seeds=tuple(range(seeds)),
        config=config,
        cells=cells,
        searched_gain=gain([c for c in cells if c.searched], [c for c in cells if not c.searched]),
        trained_gain=gain([c for c in cells if c.trained], [c for c in cells if not c.trained]),
    )
