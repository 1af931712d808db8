"""Does attention help, where it is searched with, where networks are trained with it, or both? Four cells, two by two.

For each seed there are two searches, without attention and with it on the branches. Of the networks that each found, two
trainings follow, without attention and with it on the fused map: of the teacher, if the space has one, then of the student
under it. All else is the same: the seed, the data, and λ.

Source: M-FasterSeg, sections 4.3.2 to 4.3.4, Figures 8 and 9, Tables 1 and 2.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from models.spaces.registry import create_space, read_architecture, space_class
from models.spec.architectures import ArchitectureSpec
from models.spec.base import Record, canonical_json
from models.spec.errors import InvalidSpecError
from models.spec.table_files import TableFormat, write_table
from models.spec.tables import Table
from nas_client.experiments import collapse, random_networks
from nas_client.experiments.execution import Command, Progress, begin, flat, is_finished, run_commands
from nas_client.experiments.random_networks import TrainedNetwork, read_trained
from nas_client.experiments.spread import Spread
from nas_client.runs.config import read_config, write_config
from nas_client.runs.manifest import is_begun
from nas_client.search.config import SearchConfig
from nas_client.search.setup import open_space
from nas_client.table import LookupTable
from nas_client.train.config import TrainConfig

ATTENTION = "attention.json"
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
        teacher_mean_iou: None without teachers.
    """

    searched: bool
    trained: bool
    students: tuple[TrainedNetwork, ...]
    teachers: tuple[TrainedNetwork, ...]
    mean_iou: Spread
    estimate_ms: Spread
    teacher_mean_iou: Spread | None


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
    at_once: int = 1,
    resume: bool = False,
    progress: Progress | None = None,
) -> AttentionResult | None:
    """Run what is not done yet, and compare all of it; None where it was stopped.

    Args:
        table: complete, of a search space with both placements.
        folder: gets a folder per seed, with two searches and the trainings of four cells.
        config: of all runs.
        seeds: how many; 0, 1, ….
        at_once: runs at a time, each then with one thread.
        resume: go on with the experiment in the folder.
        progress: see `run_commands`.

    Raises:
        InvalidSpecError: the table's search space does not have both placements.
        RunFolderError: the folder holds another kind of run.
        ExperimentError: a run failed; or the folder holds an experiment and `resume` is not set, or another one.
        MissingEntryError: the table is not complete.
    """
    tables = {placement: placed_table(table, placement) for placement in PLACEMENTS}
    open_space(config.search, table)
    begin(folder, "attention", table, config, resume=resume)
    for searched in (False, True):
        write_table(tables[searched, False].table, _table_file(folder, searched), TableFormat.ARROW)
    roles = [role.name for role in create_space(table.info.space).roles()]
    searches = list(_searches(folder, config.search, seeds))
    runs = [_training(folder, seed, place, role) for seed, place, role in product(range(seeds), PLACEMENTS, roles)]
    total = len(searches) + sum(not is_finished(run) for run in runs)
    if not run_commands(searches, at_once=at_once, progress=_from(progress, 0, total)):
        return None
    trainings = [command for seed in range(seeds) for command in _trainings(folder, config.training, seed, table)]
    if not run_commands(trainings, at_once=at_once, progress=_from(progress, len(searches), total)):
        return None
    cells = tuple(_cell(folder, placement, seeds, tables[placement]) for placement in PLACEMENTS)
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
        InvalidSpecError: a field is unknown or out of range; or the table's space does not have both placements.
        MissingEntryError: the table is not complete.
    """
    for override in overrides:
        if override.partition("=")[0] in ("search.seed", "training.seed"):
            raise InvalidSpecError(f"{override!r}: the experiment sets seeds itself", hint="Choose --seeds instead.")
    factor = collapse.PUBLISHED_LATENCY_SHARE / collapse.untrained_ms(placed_table(table, (False, False)))
    latency = {"factor": float(f"{factor:.4g}"), "weights": "solved"}
    fields = {"search": {**collapse.PRESETS[preset], "latency": latency}, "training": random_networks.PRESETS[preset]}
    defaults = space_class(table.info.space.name).search_defaults.model_dump()
    base: Mapping[str, Any] = {"training": defaults.pop("training"), "search": defaults}
    return read_config(AttentionConfig, None, [*flat(fields), *overrides], base=base)


def _searches(folder: Path, config: SearchConfig, seeds: int) -> Iterator[Command]:
    """The searches that are not finished."""
    for seed, searched in product(range(seeds), (False, True)):
        run = _search(folder, seed, searched)
        if is_finished(run):
            continue
        run.parent.mkdir(parents=True, exist_ok=True)
        config_file = run.with_suffix(".yaml")
        write_config(config.model_copy(update={"seed": seed}), config_file)
        arguments = ["search", "--table", _table_file(folder, searched), "--config", config_file, "--output", run, "--resume"]
        yield Command(f"seed {seed}, {run.name}", tuple(map(str, arguments)), run.with_suffix(".log"))


def _trainings(folder: Path, config: TrainConfig, seed: int, table: LookupTable) -> Iterator[Command]:
    """The trainings of one seed that are not finished, teachers first."""
    config_file = folder / f"seed{seed}" / "training.yaml"
    write_config(config.model_copy(update={"seed": seed}), config_file)
    found, teacher = _roles(table)
    for placement in PLACEMENTS:
        left = [role for role in (teacher, found) if role and not is_finished(_training(folder, seed, placement, role))]
        for role in left:
            run = _training(folder, seed, placement, role)
            run.parent.mkdir(parents=True, exist_ok=True)
            network = run.with_suffix(".json")
            text = canonical_json(_network(folder, seed, placement, role).model_dump(mode="json"))
            network.write_text(text + "\n", encoding="utf-8")
            arguments = ["train", "--architecture", network, "--config", config_file, "--output", run]
            taught = teacher is not None and role == found
            arguments += ["--teacher", run.with_name(str(teacher))] if taught else []
            arguments += ["--resume"] if is_begun(run) else []
            name = f"seed {seed}, {run.parent.name}"
            after = (f"{name}, {teacher}",) if taught and teacher in left else ()
            yield Command(f"{name}, {role}", tuple(map(str, arguments)), run.with_suffix(".log"), after)


def _network(folder: Path, seed: int, placement: Placement, role: str) -> ArchitectureSpec:
    """What the search with or without attention found for that role, as it is trained."""
    path = _search(folder, seed, placement[0]) / f"{role}.json"
    found = read_architecture(path.read_bytes(), str(path))
    return found.model_copy(update={"parameters": {**found.parameters, TRAINED: int(placement[1])}})


def _roles(table: LookupTable) -> tuple[str, str | None]:
    """The role that sees latency, and its teacher."""
    space = create_space(table.info.space)
    found = space.searched_role().name
    return found, next((role.name for role in space.roles() if role.name != found), None)


def _search(folder: Path, seed: int, searched: bool) -> Path:
    return folder / f"seed{seed}" / f"search_{'attention' if searched else 'plain'}"


def _training(folder: Path, seed: int, placement: Placement, role: str) -> Path:
    return folder / f"seed{seed}" / "_".join("attention" if there else "plain" for there in placement) / role


def _table_file(folder: Path, searched: bool) -> Path:
    (folder / "tables").mkdir(exist_ok=True)
    return folder / "tables" / f"{'attention' if searched else 'plain'}.arrow"


def _from(progress: Progress | None, before: int, total: int) -> Progress | None:
    """The progress of one part as that of the whole."""
    return progress and (lambda done, _count, running: progress(before + done, total, running))


def _cell(folder: Path, placement: Placement, seeds: int, table: LookupTable) -> AttentionCell:
    def trained(role: str) -> tuple[TrainedNetwork, ...]:
        runs = [(_training(folder, seed, placement, role), _network(folder, seed, placement, role)) for seed in range(seeds)]
        return tuple(read_trained(run, network, table) for run, network in runs)

    found, teacher = _roles(table)
    students, teachers = trained(found), trained(teacher) if teacher else ()
    return AttentionCell(
        searched=placement[0],
        trained=placement[1],
        students=students,
        teachers=teachers,
        mean_iou=Spread.of([network.mean_iou for network in students]),
        estimate_ms=Spread.of([network.estimate_ms for network in students]),
        teacher_mean_iou=Spread.of([network.mean_iou for network in teachers]) if teachers else None,
    )


def _result(cells: tuple[AttentionCell, ...], table: LookupTable, config: AttentionConfig, seeds: int) -> AttentionResult:
    def gain(there: Sequence[AttentionCell], not_there: Sequence[AttentionCell]) -> Spread:
        with_it, without = ([fmean(c.mean_iou.values[s] for c in side) for s in range(seeds)] for side in (there, not_there))
        return Spread.of([one - other for one, other in zip(with_it, without, strict=True)])

    return AttentionResult(
        table=table.info.id(),
        target=table.info.target.label(),
        space=table.info.space.label(),
        seeds=tuple(range(seeds)),
        config=config,
        cells=cells,
        searched_gain=gain([c for c in cells if c.searched], [c for c in cells if not c.searched]),
        trained_gain=gain([c for c in cells if c.trained], [c for c in cells if not c.trained]),
    )
