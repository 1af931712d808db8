"""The runs of an ablation: a search for each space and seed, then trainings of what was found.

A reduced space is searched with a part of the whole space's table, as its operators are some of the whole's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from models.spaces.published import AblationRow, AblationStudy
from models.spaces.registry import create_space, read_architecture
from models.spec.architectures import ArchitectureSpec, SpaceSpec
from models.spec.base import Record, canonical_json
from models.spec.errors import MissingEntryError
from models.spec.table_files import TableFormat, write_table
from models.spec.tables import Table
from nas_client.errors import ExperimentError
from nas_client.experiments.execution import Command, is_finished
from nas_client.runs.config import write_config
from nas_client.runs.manifest import is_begun
from nas_client.search.config import SearchConfig
from nas_client.table import LookupTable
from nas_client.train.config import TrainConfig

TEACHER = "teacher"
"""Folder of the teacher's training."""


class AblationConfig(Record):
    """The configuration of every run, but for its seed.

    Attributes:
        search: of every search.
        training: of every training.
    """

    search: SearchConfig = SearchConfig()
    training: TrainConfig = TrainConfig()


@dataclass(frozen=True)
class Study:
    """The experiment: its rows, each space's table by the name of its searches, and the names of the roles."""

    folder: Path
    rows: tuple[AblationRow, ...]
    tables: Mapping[str, LookupTable]
    found: str
    teacher: str

    def search(self, row: AblationRow) -> str:
        """The name of the row's search."""
        return next(name for name, table in self.tables.items() if table.info.space == row.space)

    def whole(self) -> str:
        """The name of the search whose teacher is trained."""
        return self.search(next(row for row in self.rows if row.distilled))

    def write_tables(self) -> None:
        """Each space's table, as a file. Raises OSError."""
        for name, table in self.tables.items():
            write_table(table.table, self.table_file(name), TableFormat.ARROW)

    def table_file(self, search: str) -> Path:
        """The table of the searches of that name."""
        return self.folder / f"{search}.arrow"

    def run(self, seed: int, name: str) -> Path:
        """The folder of a run."""
        return self.folder / f"seed{seed}" / name


def study_of(table: LookupTable, folder: Path) -> Study:
    """The ablation of the table's space.

    Raises:
        ExperimentError: nobody published one.
        InvalidSpecError: the space has not what a row needs.
        MissingEntryError: the table is not complete.
    """
    space = create_space(table.info.space)
    if not isinstance(space, AblationStudy):
        raise ExperimentError(
            f"nothing is published of an ablation in search space {space.name!r}", hint="Take a table of FasterSeg's space."
        )
    rows = space.ablation()
    found = space.searched_role().name
    teacher = next(role.name for role in space.roles() if role.name != found)
    spaces = {row.space.digest(): row.space for row in rows}
    tables = {f"search{index}": reduced_table(table, spec) for index, spec in enumerate(spaces.values())}
    return Study(folder, rows, tables, found, teacher)


def reduced_table(table: LookupTable, spec: SpaceSpec) -> LookupTable:
    """The part of a table that a space needs whose operators are some of the table's own; as a table of that space.

    Raises:
        MissingEntryError: an operator of the space is not in the table.
    """
    operators = create_space(spec).operators()
    for operator in operators:
        if table.entry(operator.key()) is None:
            raise MissingEntryError(
                f"{operator.label()} of {spec.label()} is not in {table.label()}", hint=table.measuring_advice()
            )
    wanted = {operator.key() for operator in operators}
    provenance = {**table.info.provenance, "reduced_from": table.info.id()}
    info = table.info.model_copy(update={"space": spec, "provenance": provenance})
    return LookupTable(Table(info=info, entries=tuple(entry for entry in table.table.entries if entry.key() in wanted)))


def searches(study: Study, seed: int, config: AblationConfig) -> Iterator[Command]:
    """The searches that are not finished."""
    for name in study.tables:
        run = study.run(seed, name)
        if is_finished(run):
            continue
        run.mkdir(parents=True, exist_ok=True)
        config_file = run.with_suffix(".yaml")
        write_config(config.search.model_copy(update={"seed": seed}), config_file)
        arguments = ["search", "--table", study.table_file(name), "--config", config_file, "-o", run, "--resume"]
        yield Command(f"seed {seed}, {name}", tuple(map(str, arguments)), run.with_suffix(".log"))


def trainings(study: Study, seed: int, config: AblationConfig) -> Iterator[Command]:
    """The trainings that are not finished, the teacher's first."""
    networks = {TEACHER: _architecture(study.run(seed, study.whole()) / f"{study.teacher}.json")}
    networks |= {f"row{index}": network_of(study, row, seed) for index, row in enumerate(study.rows)}
    config_file = study.run(seed, "training.yaml")
    write_config(config.training.model_copy(update={"seed": seed}), config_file)
    left = [name for name in networks if not is_finished(study.run(seed, name))]
    for name in left:
        run = study.run(seed, name)
        file = run.with_suffix(".json")
        file.write_text(canonical_json(networks[name].model_dump(mode="json")) + "\n", encoding="utf-8")
        arguments = ["train", "--architecture", file, "--config", config_file, "-o", run]
        taught = name != TEACHER and study.rows[int(name.removeprefix("row"))].distilled
        arguments += ["--teacher", study.run(seed, TEACHER)] if taught else []
        arguments += ["--resume"] if is_begun(run) else []
        after = (f"seed {seed}, {TEACHER}",) if taught and TEACHER in left else ()
        yield Command(f"seed {seed}, {name}", tuple(map(str, arguments)), run.with_suffix(".log"), after)


def network_of(study: Study, row: AblationRow, seed: int) -> ArchitectureSpec:
    """The row's network, from the search that found it."""
    run = study.run(seed, study.search(row))
    if not row.pruned:
        return _architecture(run / f"{study.found}.json")
    space = create_space(row.space)
    assert isinstance(space, AblationStudy)
    return space.narrowest(_architecture(run / f"{study.teacher}.json"))


def _architecture(path: Path) -> ArchitectureSpec:
    return read_architecture(path.read_bytes(), str(path))
