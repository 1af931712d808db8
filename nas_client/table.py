"""A latency table in memory, from a file or a service. A missing entry never counts as zero.

There are two ways to handle a missing entry: `lookup` raises, for losses, where nothing may be missing; `collect` lists what is
missing, for estimates that people read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from urllib.parse import urlsplit

from models.plugins import missing_plugins
from models.spaces.base import SearchSpace
from models.spaces.coverage import coverage
from models.spaces.registry import create_space, default_spec, space_label, space_names
from models.spec.architectures import ArchitectureSpec, InputSize, Parameter, SpaceSpec, parameter_text
from models.spec.errors import InvalidSpecError, MissingEntryError, MissingPluginError, OpclockError, TableMismatchError
from models.spec.measurements import Measurement, ProtocolName, Status
from models.spec.operators import OperatorSpec
from models.spec.table_files import TableColumns, TableFormat, read_columns, write_table
from models.spec.tables import Table, TableInfo
from models.spec.targets import TargetSpec
from models.spec.verdicts import Verdict, entry_reasons, scale_reasons, table_verdict
from models.spec.wire import JobPublic, TablePublic
from nas_client.errors import TableChoiceError
from nas_client.local_tables import may_be_name, named_table
from nas_client.service import ServiceClient
from nas_client.settings import ClientSettings

LISTED = 10
"""Tables that an error names."""

COMPARED = 64
"""Tables of which the complete one is found. To know what a table should hold, its space's grid is made: about 10 ms each."""


@dataclass(frozen=True)
class Term:
    """One operator of a sum. `ms` is None where the table cannot say; then `reason` does."""

    operator: OperatorSpec
    ms: float | None
    reason: str = ""


class LookupTable:
    """A latency table: milliseconds of operators, on one target and for one search space."""

    def __init__(self, table: Table | TableColumns) -> None:
        self._source = table
        self._values_ms = table.values_ms()

    def __len__(self) -> int:
        """Number of entries, failed ones included."""
        return len(self._source) if isinstance(self._source, TableColumns) else len(self._source.entries)

    @property
    def failed(self) -> int:
        """Number of entries without a value."""
        return len(self) - len(self._values_ms)

    @property
    def info(self) -> TableInfo:
        """The table's identity and provenance."""
        return self._source.info

    @cached_property
    def table(self) -> Table:
        """All entries as records; they are made when this is first asked for."""
        return self._source.table if isinstance(self._source, TableColumns) else self._source

    def entry(self, key: str) -> Measurement | None:
        """The entry of the operator of that key, failed or not; None where there is none."""
        if isinstance(self._source, TableColumns):
            return self._source.entry(key)
        return self._source.by_key.get(key)

    def write(self, path: Path, file_format: TableFormat) -> None:
        """Write the table to a file. Raises TableFileError where it cannot be written."""
        if isinstance(self._source, TableColumns):
            self._source.write(path, file_format)
        else:
            write_table(self._source, path, file_format)

    @cached_property
    def verdict(self) -> Verdict:
        """Whether its values can be trusted, and what speaks against it."""
        if isinstance(self._source, TableColumns):
            return Verdict.of([*scale_reasons(self.info), *entry_reasons(self._source.qualities())])
        return table_verdict(self._source)

    @property
    def uncharged(self) -> str:
        """In one sentence what sums of this table leave out; empty where that is nothing, or where its space is not known."""
        try:
            return create_space(self.info.space).uncharged()
        except InvalidSpecError:
            return ""

    def lookup(self, operator: OperatorSpec) -> float:
        """The milliseconds of an operator.

        Raises:
            MissingEntryError: names the operator, why there is no value, and how it gets one.
        """
        value = self._values_ms.get(operator.key())
        if value is None:
            raise MissingEntryError(
                f"no value for {operator.label()} (key {operator.key()}) in {self.label()}: {self._reason(operator)}",
                hint=self.measuring_advice(),
            )
        return value

    def collect(self, operators: Iterable[OperatorSpec]) -> tuple[Term, ...]:
        """One term per operator, in order. A term without a value states the reason."""
        terms = []
        for operator in operators:
            value = self._values_ms.get(operator.key())
            terms.append(Term(operator, value, "" if value is not None else self._reason(operator)))
        return tuple(terms)

    def label(self) -> str:
        """A description for people: the table's id, space and target, and its protocol unless that is the default."""
        protocol = "" if self.info.protocol is ProtocolName.IN_CONTEXT else f", {self.info.protocol.value}"
        return f"table {self.info.id()} ({space_label(self.info.space)} on {self.info.target.label()}{protocol})"

    def measuring_advice(self) -> str:
        """The command that measures the missing entries, and only those, on the machine of this table.

        An imported table has no such command: its runtime is no backend. The advice then is to measure another table.
        """
        target = self.info.target
        if target.options.get("origin") == "imported":
            return (
                "The table was imported, and nothing here can measure for it. "
                f"Measure a table of your own device instead: {self._profiling()}"
            )
        settings = [f"{name}={value}" for name, value in (target.settings or {}).items()]
        options = [f"--backend {target.backend}"]
        if target.threads > 1 and "OPCLOCK_THREADS" not in (target.settings or {}):
            options.append(f"--threads {target.threads}")
        if self.info.protocol is not ProtocolName.IN_CONTEXT:
            options.append(f"--protocol {self.info.protocol.value}")
        return f"Measure what is missing: {' '.join([*settings, self._profiling(*options)])}"

    def _profiling(self, *options: str) -> str:
        """The command that profiles the table's space, with the options that are not the space's defaults."""
        space = self.info.space
        default = default_spec(space)
        height, width = space.input_size
        parts = [f"profiler-service profile --space {space.name} --input-size {height}x{width}", *options]
        fields = [name for name in ("classes", "batch", "dtype") if getattr(space, name) != getattr(default, name)]
        parts += [f"--{name} {getattr(space, name)}" for name in fields]
        changed = {name: value for name, value in space.parameters.items() if value != default.parameters.get(name)}
        parts += [f"--parameter {name}={parameter_text(value)}" for name, value in changed.items()]
        return " ".join(parts)

    def require_target(self, target: TargetSpec) -> None:
        """Check that the table is of this target. Raises TableMismatchError that lists the fields that differ."""
        if lines := self.info.target.differences(target):
            raise TableMismatchError(
                f"{self.label()} was measured on another target: {'; '.join(lines)}",
                hint="Use the table of this target, or measure one on it.",
            )

    def require_space(self, space: SpaceSpec) -> None:
        """Check that the table is of this search space. Raises TableMismatchError that lists the fields that differ."""
        self._require_space_fields(self.info.space.differences(space), "search space")

    def require_architecture(self, architecture: ArchitectureSpec) -> None:
        """Check that an architecture is of the table's space. Raises TableMismatchError that lists the fields that differ."""
        stated = {
            "name": architecture.space,
            "input_size": architecture.input_size,
            "classes": architecture.classes,
            "batch": architecture.batch,
            "dtype": architecture.dtype,
        }
        space = self.info.space
        self._require_space_fields(space.differences(space.model_copy(update=stated)), "search space than the architecture")

    def _require_space_fields(self, lines: Sequence[str], what: str) -> None:
        if lines:
            raise TableMismatchError(
                f"{self.label()} is of another {what}: {'; '.join(lines)}",
                hint="Use a table of the same search space, or measure one.",
            )

    def _reason(self, operator: OperatorSpec) -> str:
        entry = self.entry(operator.key())
        if entry is None or entry.status is Status.OK:
            return "it was never measured"
        return f"measuring it ended with {entry.status.value}: {entry.message}"


def load_table(source: str, settings: ClientSettings | None = None) -> LookupTable:
    """Load a table from a file of any export format, from a service, or by its published name.

    Args:
        source: a path; or `http://host:port`, where the service holds one table; or `http://host:port/v1/tables/ID`; or, where
            there is no such path, the name of a published table.
        settings: time limits for the service, and the folder of published tables; the environment's by default.

    Raises:
        TableFileError, UnsafeTableError: the file is no table, or may not be read.
        UnknownNameError: the table needs a plugin that is not installed; names it.
        TableChoiceError: the service holds no table, or several; or none is published under that name.
        ServiceError, UnreachableError, IncompatibleServiceError: see `Transport.request`.
        OSError: the file cannot be opened.
    """
    found = LookupTable(_read(source, settings or ClientSettings.load()))
    space, missing = found.info.space.name, missing_plugins(found.info.provenance)
    if missing and space not in space_names():
        raise MissingPluginError(
            f"{source}: search space {space!r} comes from {missing}, which is not installed here", hint=f"Install {missing}."
        )
    return found


def _read(source: str, settings: ClientSettings) -> Table | TableColumns:
    if urlsplit(source).scheme not in ("http", "https"):
        return read_columns(named_table(source, settings) if may_be_name(source) else Path(source))
    url, _, table_id = source.rstrip("/").partition("/v1/tables/")
    with ServiceClient.connect(url, settings) as service:
        return service.columns(table_id or choose_table(service.tables()).id)


def require_complete(table: LookupTable, space: SearchSpace) -> None:
    """Check that the table has a value for every operator of that space.

    Raises:
        MissingEntryError: names the first without one, and the command that measures them.
    """
    missing = [term for term in table.collect(space.operators()) if term.ms is None]
    if missing:
        raise MissingEntryError(
            f"{len(missing)} operators have no value in {table.label()}; the first is {missing[0].operator.label()}: "
            f"{missing[0].reason}",
            hint=table.measuring_advice(),
        )


def require_measured_for(table: LookupTable, job: JobPublic) -> None:
    """Check that a job measured networks for that table. Raises TableMismatchError where it did for another one."""
    if job.table_id != table.info.id():
        raise TableMismatchError(
            f"the service measured the networks for table {job.table_id}, not for {table.label()}",
            hint="The table is of another release or protocol version; measure it again.",
        )


def choose_table(
    tables: Sequence[TablePublic],
    *,
    table_id: str | None = None,
    space: str | None = None,
    input_size: InputSize | None = None,
    parameters: Mapping[str, Parameter] | None = None,
    protocol: ProtocolName | None = None,
    target: TargetSpec | None = None,
) -> TablePublic:
    """Choose the one table that fits everything stated. Of several, choose the one whose entries cover the grid of its space,
    in the latest version of that grid; of more than `COMPARED`, none.

    Raises:
        TableChoiceError: none does, or several do of which none or several are complete; lists what there is.
    """
    fitting = [
        table
        for table in tables
        if (table_id is None or table.id == table_id)
        and (space is None or table.info.space.name == space)
        and (input_size is None or table.info.space.input_size == input_size)
        and (not parameters or _has(table.info.space, parameters))
        and (protocol is None or table.info.protocol is protocol)
        and (target is None or table.info.target.id() == target.id())
    ]
    if len(fitting) == 1:
        return fitting[0]
    numbers = {name: parameter_text(value) for name, value in (parameters or {}).items()}
    stated = {"id": table_id, "space": space, "input size": input_size, **numbers, "protocol": protocol, "target": target}
    wanted = ", ".join(f"{name} {_shown(value)}" for name, value in stated.items() if value is not None)
    if not fitting:
        raise TableChoiceError(
            f"the service holds no table{f' of {wanted}' if wanted else ''}",
            hint=f"It holds {_listed(tables)}." if tables else "Measure one with `nas-client profile`.",
        )
    if len(fitting) <= COMPARED:
        complete = [table for table in fitting if coverage(table).complete]
        if len(newest := [one for one in complete if not any(_supersedes(other, one) for other in complete)]) == 1:
            return newest[0]
    raise TableChoiceError(
        f"the service holds {len(fitting)} tables{f' of {wanted}' if wanted else ''}: {_listed(fitting)}",
        hint="Name one with --table ID; `nas-client tables` lists them all.",
    )


def _has(space: SpaceSpec, parameters: Mapping[str, Parameter]) -> bool:
    """Whether these are parameters of the space; some that have their defaults are not in its record."""
    changed = space.model_copy(update={"parameters": {**space.parameters, **parameters}})
    try:
        return create_space(changed).spec == space
    except OpclockError:  # not its parameters, or nothing that is installed has this space
        return False


def _supersedes(one: TablePublic, other: TablePublic) -> bool:
    """Whether they differ in the version of their space's grid alone, and this is the later."""
    here, there = one.info, other.info
    same = (here.target.id(), here.protocol, here.protocol_version) == (
        there.target.id(),
        there.protocol,
        there.protocol_version,
    )
    later = here.space.version > there.space.version
    return same and later and here.space == there.space.model_copy(update={"version": here.space.version})


def _listed(tables: Sequence[TablePublic]) -> str:
    """The first tables, for an error."""
    named = [
        f"{table.id}: {space_label(table.info.space)}, {table.info.protocol.value}, {table.info.target.label()}, "
        f"{coverage(table).label()}"
        for table in tables[:LISTED]
    ]
    return "; ".join(named) + (f"; and {len(tables) - LISTED} more" if len(tables) > LISTED else "")


def _shown(value: object) -> str:
    if isinstance(value, TargetSpec):
        return value.label()
    return "×".join(map(str, value)) if isinstance(value, tuple) else str(value)
