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
from models.spec.base import Record
from models.spec.errors import MissingEntryError
from models.spec.table_files import TableFormat, write_table
from models.spec.tables import Table
from nas_client.errors import ExperimentError
from nas_client.experiments.execution import Command
from nas_client.experiments.runs import Search, Training, search_commands, training_commands
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

    def trainings(self, seed: int) -> tuple[Training, ...]:
        """The teacher's, then that of each row's network. What is trained was found by searches that have ended."""
        whole = next(row for row in self.rows if row.distilled)
        teacher = Training(self.run(seed, TEACHER), self._network(seed, whole, self.teacher))
        rows = (
            Training(self.run(seed, f"row{index}"), self._network_of(seed, row), teacher if row.distilled else None)
            for index, row in enumerate(self.rows)
        )
        return (teacher, *rows)

    def _network_of(self, seed: int, row: AblationRow) -> ArchitectureSpec:
        if not row.pruned:
            return self._network(seed, row, self.found)
        space = create_space(row.space)
        assert isinstance(space, AblationStudy)
        return space.narrowest(self._network(seed, row, self.teacher))

    def _network(self, seed: int, row: AblationRow, role: str) -> ArchitectureSpec:
        path = self.run(seed, self.search(row)) / f"{role}.json"
        return read_architecture(path.read_bytes(), str(path))


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


def searches(study: Study, seeds: int, config: AblationConfig) -> Iterator[Command]:
    """The searches that are not finished; their tables are written."""
    study.write_tables()
    for seed in range(seeds):
        seeded = config.search.model_copy(update={"seed": seed})
        runs = [Search(study.run(seed, name), seeded, study.table_file(name)) for name in study.tables]
        yield from search_commands(runs)


def trainings(study: Study, seeds: int, config: AblationConfig) -> Iterator[Command]:
    """The trainings that are not finished."""
    for seed in range(seeds):
        seeded = config.training.model_copy(update={"seed": seed})
        yield from training_commands(seeded, study.run(seed, "training.yaml"), study.trainings(seed))
