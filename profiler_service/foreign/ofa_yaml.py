"""Latency tables of Once-for-All and ProxylessNAS: YAML, one operator a key, its statistics below it.

A key is a type and shapes, and for inverted residuals what they are made of:
`expanded_conv-input:112x112x24-output:56x56x32-expand:72-kernel:3-stride:2-idskip:0-se:0-hs:0`. Shapes are height, width,
channels. `expand` is the ratio of expansion in ProxylessNAS's tables, which have no `se` and `hs`, and the number of channels
inside in Once-for-All's. Statistics are `count`, `mean`, and `std` or `var`; the networks' latency is the sum of means, in
milliseconds.

The file is read as a stream of YAML's events. No object is ever made from it, and aliases are refused.

Source: mit-han-lab/once-for-all, `ofa/nas/efficiency_predictor/latency_lookup_table.py`, `ofa/tutorial/latency_table.py`;
han-cai/files, `ofa/note10/*_lookup_table.yaml` and `proxylessnas/mobile_trim.yaml`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from models.spec import limits
from models.spec.errors import UnsafeTableError
from profiler_service.foreign.foreign_table import ForeignEntry, ForeignFormat, ForeignTable, text_of
from profiler_service.foreign.sources import Latency, SourceFile, distinct, require_latency, require_varied

MAX_YAML_BYTES = 8 * 2**20
"""Five hundred times the published tables. YAML is slow to read."""

_HINT = "Only latency tables of Once-for-All and ProxylessNAS are understood: a key for each operator, with count and mean."
_SHAPE = r"\d+(?:x\d+){0,2}"
_KEY = re.compile(
    rf"(?:(?:Conv|Conv_1|Conv_2|AvgPool2D|Logits)-input:{_SHAPE}-output:{_SHAPE}"
    rf"|expanded_conv-input:{_SHAPE}-output:{_SHAPE}-expand:\d+-kernel:\d+-stride:\d+-idskip:[01](?:-se:[01]-hs:[01])?)"
)
_STATISTICS = ("count", "mean", "std", "var")


@dataclass
class _Record:
    """A key with its statistics: name to text and line."""

    key: str
    line: int
    statistics: dict[str, tuple[str, int]] = field(default_factory=dict)


def read_ofa(source: SourceFile) -> ForeignTable:
    """The table in that file.

    Raises:
        TableFileError: it has a key or a statistic that the format does not have, or a value that is no latency.
        UnsafeTableError: it has a tag, which asks for an object.
    """
    if len(source.data) > MAX_YAML_BYTES:
        raise source.refuse("", f"it has more than {MAX_YAML_BYTES} bytes, which is the limit for YAML", "Give a part of it.")
    entries: dict[str, ForeignEntry] = {}
    latencies = []
    for record in _records(source):
        entry = _entry(source, record)
        entries.setdefault(entry.key, entry)
        latencies.append(Latency(record.line, "mean", entry.key, entry.key, entry.ms))
    kept, repeats = distinct(source, latencies)
    if not kept:
        raise source.refuse("", "it has no operators", _HINT)
    require_varied(source, kept)
    return ForeignTable(
        source=source.path.name,
        sha256=source.digest,
        format=ForeignFormat.OFA_YAML,
        value="mean, in milliseconds",
        device="",
        entries=tuple(entries.values()),
        repeats=tuple(repeats),
    )


def _entry(source: SourceFile, record: _Record) -> ForeignEntry:
    place = f"row {record.line}"
    if not _KEY.fullmatch(record.key):
        raise source.refuse(place, f"key {record.key[:80]!r} is not understood", _HINT)
    if "mean" not in record.statistics:
        raise source.refuse(place, f"{record.key!r} has no mean", _HINT)
    numbers = {name: _number(source, line, name, text) for name, (text, line) in record.statistics.items()}
    line = record.statistics["mean"][1]
    ms = require_latency(source, f"row {line}, column 'mean'", numbers["mean"])
    for name, value in numbers.items():
        if name != "mean" and not 0 <= value < math.inf:
            raise source.refuse(f"row {record.statistics[name][1]}, column {name!r}", f"{value:g} cannot be", _HINT)
    return ForeignEntry(
        key=record.key, type=record.key.partition("-")[0], ms=ms, row=record.line, statistics=dict(sorted(numbers.items()))
    )


def _number(source: SourceFile, line: int, name: str, text: str) -> float:
    try:
        # YAML's own words for what is not finite have a dot before them.
        return float(re.sub(r"^([+-]?)\.(nan|inf)$", r"\1\2", text, flags=re.IGNORECASE))
    except ValueError as error:
        raise source.refuse(f"row {line}, column {name!r}", f"{text[:40]!r} is not a number", _HINT) from error


def _records(source: SourceFile) -> Iterator[_Record]:
    """The keys of the document with their statistics."""
    record: _Record | None = None
    name: str | None = None
    depth = 0
    for event, line in _events(source):
        place, kind = f"row {line}", type(event).__name__
        if kind == "MappingStartEvent" and depth == (0 if record is None else 1):
            depth += 1
        elif kind == "MappingEndEvent":
            depth -= 1
            if record is not None:
                yield record
                record = None
        elif kind == "ScalarEvent" and depth == 1 and record is None:
            record = _Record(event.value, line)
        elif kind == "ScalarEvent" and depth == 2 and record is not None:
            if name is None:
                name = event.value
                if name not in _STATISTICS:
                    raise source.refuse(place, f"statistic {name[:40]!r} of {record.key[:80]!r} is not understood", _HINT)
                if name in record.statistics:
                    raise source.refuse(place, f"{record.key!r} has {name} twice", "Keep one of the two lines.")
            else:
                record.statistics[name] = (event.value, line)
                name = None
        else:
            raise source.refuse(place, "the file does not have the form of a latency table", _HINT)


def _events(source: SourceFile) -> Iterator[tuple[Any, int]]:
    """YAML's events between beginning and end of the only document, each with its line.

    PyYAML's events have no types to check against.
    """
    import yaml

    text, count, documents = text_of(source), 0, 0
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        event: Any
        for event in yaml.parse(text, Loader=loader):
            line = event.start_mark.line + 1
            if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
                raise source.refuse(f"row {line}", "anchors and aliases are not admitted", _HINT)
            if getattr(event, "tag", None):
                raise UnsafeTableError(
                    f"{source.path}, row {line}: the tag {event.tag[:60]!r} asks for an object", hint="Do not load this file."
                )
            documents += isinstance(event, yaml.DocumentStartEvent)
            if documents > 1:
                raise source.refuse(f"row {line}", "a second document begins", _HINT)
            if isinstance(event, yaml.ScalarEvent):
                count += 1
                if count > (1 + 2 * len(_STATISTICS)) * limits.MAX_TABLE_ENTRIES:
                    raise source.refuse(f"row {line}", f"it has more than {limits.MAX_TABLE_ENTRIES} operators", "Give a part.")
            if isinstance(event, yaml.NodeEvent | yaml.CollectionEndEvent):
                yield event, line
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = "" if mark is None else f"row {mark.line + 1}"
        problem = getattr(error, "problem", None) or str(error)
        raise source.refuse(place, f"it is not YAML: {problem}", _HINT) from error
