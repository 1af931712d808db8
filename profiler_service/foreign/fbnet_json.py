"""The operator database of FBNet and ChamNet: a JSON record on each line.

A record is one operator of Caffe2 on one device: `op_type`, `op_args` (a list of the arguments' proto texts), `input_shapes`,
`input_dtypes`, `device`, and percentiles of its time in microseconds, `runtime_us_p0` to `runtime_us_p100`. The latency is the
median, `runtime_us_p50`. The first five fields are what an operator is looked up by; arguments that name `ws_nbytes_limit` do
not count.

Source: facebookresearch/mobile-vision, `runtime_lut/README.md`, `runtime_lut/code/lut_schema.py` and `runtime_lut/code/api.py`.
"""

from __future__ import annotations

import json
import math
from typing import Annotated, Any

from pydantic import Field, StrictInt

from models.spec import limits
from models.spec.base import Record
from models.spec.errors import InvalidSpecError
from profiler_service.foreign.foreign_table import ForeignEntry, ForeignFormat, ForeignTable, text_of
from profiler_service.foreign.sources import Latency, SourceFile, distinct, require_latency, require_varied

_HINT = "Only the operator database of FBNet is understood: one JSON record a line, with op_type and runtime_us_p50."
_MEDIAN = "runtime_us_p50"
_NOT_MATCHED = "ws_nbytes_limit"

Text = Annotated[str, Field(max_length=4096)]
Shape = Annotated[tuple[Annotated[StrictInt, Field(ge=0)], ...], Field(max_length=8)]
Microseconds = Annotated[float, Field(strict=True)]


class FbnetRecord(Record):
    """One line. Names are the file's."""

    op_type: Annotated[str, Field(min_length=1, max_length=128)]
    op_args: Annotated[tuple[Text, ...], Field(max_length=64)]
    input_shapes: Annotated[tuple[Shape, ...], Field(max_length=64)]
    input_dtypes: Annotated[tuple[StrictInt, ...], Field(max_length=64)]
    device: Annotated[str, Field(max_length=128)]
    runtime_us_p0: Microseconds
    runtime_us_p10: Microseconds
    runtime_us_p50: Microseconds
    runtime_us_p90: Microseconds
    runtime_us_p100: Microseconds

    def key(self) -> str:
        """What it is looked up by, without the device, which all records of a file share.

        `Int8ConvRelu 1x224x224x3,32x3x3x3,32 [dtypes] [arguments]`; an argument's white space is one space.
        """
        shapes = ",".join("x".join(map(str, shape)) for shape in self.input_shapes)
        dtypes = ",".join(map(str, self.input_dtypes))
        arguments = "; ".join(" ".join(argument.split()) for argument in self.op_args if _NOT_MATCHED not in argument)
        return f"{self.op_type} {shapes} [{dtypes}] [{arguments}]"

    def statistics(self) -> dict[str, float]:
        """The percentiles, in microseconds."""
        return self.model_dump(include={name for name in type(self).model_fields if name.startswith("runtime_us_")})


def read_fbnet(source: SourceFile) -> ForeignTable:
    """The table in that file.

    Raises:
        TableFileError: a line is no such record; the records are of several devices; or a median is no latency.
    """
    entries: dict[str, ForeignEntry] = {}
    latencies: list[Latency] = []
    device, first = "", 0
    for row, line in enumerate(text_of(source).split("\n"), start=1):
        if not line.strip():
            continue
        if len(latencies) == limits.MAX_TABLE_ENTRIES:
            raise source.refuse(f"row {row}", f"it has more than {limits.MAX_TABLE_ENTRIES} records", "Give a part of it.")
        record = _record(source, row, line)
        if not latencies:
            device, first = record.device, row
        elif record.device != device:
            raise source.refuse(
                f"row {row}, column 'device'",
                f"{record.device!r} is another device than {device!r} of row {first}",
                "Give a file for each device.",
            )
        place, key = f"row {row}, column {_MEDIAN!r}", record.key()
        ms = require_latency(source, place, record.runtime_us_p50) / 1000
        entries.setdefault(key, ForeignEntry(key=key, type=record.op_type, ms=ms, row=row, statistics=record.statistics()))
        latencies.append(Latency(row, _MEDIAN, key, key, ms))
    kept, repeats = distinct(source, latencies)
    require_varied(source, kept)
    return ForeignTable(
        source=source.path.name,
        sha256=source.digest,
        format=ForeignFormat.FBNET_JSON,
        value=f"{_MEDIAN}, in microseconds, divided by 1000",
        device=device,
        entries=tuple(entries.values()),
        repeats=tuple(repeats),
    )


def _fields(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The fields of a JSON object. Raises ValueError for a name that is there twice."""
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("a field is there twice")
    return fields


def _record(source: SourceFile, row: int, line: str) -> FbnetRecord:
    try:
        document: Any = json.loads(line, parse_constant=float, object_pairs_hook=_fields)
    except (ValueError, RecursionError) as error:
        problem = "it is nested too deeply" if isinstance(error, RecursionError) else f"it is not a JSON record: {error}"
        raise source.refuse(f"row {row}", problem, _HINT) from error
    if not isinstance(document, dict) or "op_type" not in document:
        raise source.refuse(f"row {row}", "it is not a record of an operator: it has no op_type", _HINT)
    # NaN and infinity get a message of their own, before the record refuses all that is not finite.
    for name, value in document.items():
        if name.startswith("runtime_us_") and isinstance(value, float) and not math.isfinite(value):
            require_latency(source, f"row {row}, column {name!r}", value)
    try:
        return FbnetRecord.parse(document)
    except InvalidSpecError as error:
        raise source.refuse(f"row {row}", error.message, error.hint or _HINT) from error
