"""A latency lookup table: the measurements of one search space on one target."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from itertools import pairwise
from typing import Any, Self

from pydantic import Field, model_validator

from models.spec.architectures import SpaceSpec
from models.spec.base import Record, UtcTime, digest
from models.spec.errors import InvalidSpecError, TableMismatchError
from models.spec.measurements import Measurement, ProtocolName, Status
from models.spec.rebuilds import RebuildSpread
from models.spec.scale import Scale, ScaleCheck
from models.spec.targets import TargetSpec

OLD_SCALE = (
    "it was set by the first job of an earlier release, whatever else the machine did then; measure once more on this target"
)
"""Why the scale of an earlier release's table is not reliable."""


class TableInfo(Record):
    """Identity and origin of a table.

    Attributes:
        target, space, protocol, protocol_version: identity of the table. Values of different identities are never mixed.
        scale: value of one sentinel unit on the target; null where the protocol has none, or nothing was measured. Not part of
            the identity: all tables of one target share one scale.
        check: result of the latest job's plain check of the values; null where there was none.
        created_at: time of creation in UTC.
        provenance: host, serial numbers, source file and other facts. Not part of the identity.
        rebuild_spread: build-to-build variance of the engines; null where it was not measured. Not part of the identity.
    """

    target: TargetSpec
    space: SpaceSpec
    protocol: ProtocolName = ProtocolName.IN_CONTEXT
    protocol_version: int = 1
    scale: Scale | None = None
    check: ScaleCheck | None = None
    created_at: UtcTime | None = None
    provenance: dict[str, str] = Field(default_factory=dict)
    rebuild_spread: RebuildSpread | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_earlier_releases(cls, value: Any) -> Any:
        """Files of version 2 and earlier have a bare reference."""
        if isinstance(value, dict) and "sentinel_reference_ms" in value:
            reference_ms = value["sentinel_reference_ms"]
            value = {name: field for name, field in value.items() if name != "sentinel_reference_ms"}
            if reference_ms is not None:
                value["scale"] = {"reference_ms": reference_ms, "unsettled": OLD_SCALE}
        return value

    def id(self) -> str:
        """The table id: 16 hex digits."""
        return table_id(self.target.id(), self.space.digest(), self.protocol, self.protocol_version)

    def require_same(self, other: TableInfo) -> None:
        """Raises TableMismatchError, which names the differing fields, unless both have the same identity."""
        differences = [f"target {line}" for line in self.target.differences(other.target)]
        differences += [f"space {line}" for line in self.space.differences(other.space)]
        for name in ("protocol", "protocol_version"):
            if getattr(self, name) != getattr(other, name):
                differences.append(f"{name}: {getattr(self, name)} here, {getattr(other, name)} there")
        if differences:
            raise TableMismatchError(
                "the tables must not be mixed: " + "; ".join(differences),
                hint="Use tables measured on the same target, for the same search space and protocol.",
            )


def table_id(target_id: str, space_digest: str, protocol: ProtocolName, protocol_version: int) -> str:
    """The id of the table with that identity."""
    return digest("table", [target_id, space_digest, protocol.value, protocol_version])


class Table(Record):
    """A table and its operators' measurements. Keys are unique; order is by label, then key, however they were given."""

    info: TableInfo
    entries: tuple[Measurement, ...] = ()

    @model_validator(mode="after")
    def _sorted_and_unique(self) -> Self:
        ordered = sorted(self.entries, key=lambda entry: (entry.workload.label(), entry.key()))
        for one, other in pairwise(ordered):
            if one.key() == other.key():
                raise InvalidSpecError(f"two entries for {one.workload.label()} (key {one.key()})")
        object.__setattr__(self, "entries", tuple(ordered))
        return self

    @cached_property
    def by_key(self) -> Mapping[str, Measurement]:
        """Operator key to measurement."""
        return {entry.key(): entry for entry in self.entries}

    def values_ms(self) -> dict[str, float]:
        """Operator key to table value, only of successful measurements."""
        return {
            key: entry.value_ms
            for key, entry in self.by_key.items()
            if entry.status is Status.OK and entry.value_ms is not None
        }
