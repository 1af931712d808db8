"""Published tables: their names, and the card beside each file (lut_data/README.md).

nvidia-h200/inductor/SPACE-1024x2048-fp16.parquet    the table
nvidia-h200/inductor/SPACE-1024x2048-fp16.json       its card
"""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, JsonValue

from models.spec.base import Record
from models.spec.measurements import Flag, ProtocolName
from models.spec.tables import TableInfo
from models.spec.verdicts import Verdict

TABLE_SUFFIX, CARD_SUFFIX = ".parquet", ".json"

_SHORT = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16"}
_TRADEMARKS = re.compile(r"\((?:r|tm|c)\)", re.IGNORECASE)
_OTHERS = re.compile(r"[^a-z0-9._]+")


class TableQuality(Record):
    """Uncertainty of a table's values: medians over its successful entries, null without any.

    Attributes:
        relative_stderr: standard error over value, as a fraction.
        between_round_spread, cv: as of `Measurement`.
        flags: how many entries have each flag; those that none has are left out.
    """

    relative_stderr: float | None
    between_round_spread: float | None
    cv: float | None
    flags: dict[Flag, int] = Field(default_factory=dict)


class TableCard(Record):
    """The card of a published table.

    Attributes:
        version: of this record.
        name: by which `nas-client --table` finds it.
        label: for people: what was measured, where.
        device_kind: whether the times are a processor's or a GPU's.
        table_id, info: the table's identity and provenance, without provenance of the host.
        etag: of its contents (`table_etag`).
        entries, failed, missing: operators with an entry, of these without a value, and those of the space without an entry.
        quality: see `TableQuality`.
        verdict: whether the values can be trusted; None in cards of earlier releases.
        validation: `validation.json` of the networks it was validated on; None where it was not.
    """

    version: Literal[1] = 1
    name: str
    label: str
    device_kind: Literal["cpu", "gpu"]
    table_id: str
    etag: str
    info: TableInfo
    entries: int
    failed: int
    missing: int
    quality: TableQuality
    verdict: Verdict | None = None
    validation: dict[str, JsonValue] | None = None


def table_name(info: TableInfo) -> str:
    """`DEVICE/BACKEND/SPACE-HxW-DTYPE`, then several threads and protocols other than `in_context`.

    float32 computed in TF32 is called `tf32`.
    """
    target, space = info.target, info.space
    height, width = space.input_size
    tf32 = space.dtype == "float32" and target.precision.get("tf32") == "on"
    parts = [space.name, f"{height}x{width}", "tf32" if tf32 else _SHORT[space.dtype]]
    if target.threads > 1:
        parts.append(f"{target.threads}threads")
    if info.protocol is not ProtocolName.IN_CONTEXT:
        parts.append(info.protocol.value)
    return "/".join(_plain(part) for part in (target.device, target.backend, "-".join(parts)))


def _plain(text: str) -> str:
    """Lower case, digits, and hyphens for everything else, so that it is a file name anywhere."""
    return _OTHERS.sub("-", _TRADEMARKS.sub("", text).lower()).strip("-.")
