"""Writes docs/columns.md: every column of table files and of exported samples, from the docstrings of the records.

python scripts/column_docs.py            # writes the page
python scripts/column_docs.py --check    # ends with 1 where the page is out of date
"""

from __future__ import annotations

import argparse
import ast
import inspect
import re
import sys
import textwrap
from collections.abc import Iterable, Iterator
from enum import Enum
from itertools import groupby
from pathlib import Path

from models.spec.base import Record
from models.spec.measurements import Flag, Measurement, ProtocolName, Status
from models.spec.operators import OperatorSpec
from models.spec.scale import CheckedWorkload, CheckOutcome, Scale, ScaleCheck, ScalePoint
from models.spec.table_files.codec import COLUMNS, ColumnType
from models.spec.tables import TableInfo
from profiler_service import raw_data

PAGE = Path(__file__).parents[1] / "docs" / "columns.md"

UNITS = {
    "_ms": "milliseconds",
    "_s": "seconds",
    "_mhz": "MHz",
    "_c": "°C",
    "_w": "watts",
    "_bytes": "bytes",
}
"""End of a name to the unit of what it names."""

FRACTIONS = frozenset({"cv", "between_round_spread", "sentinel_ratio", "output_error", "ratio", "uncertainty", "host_stolen"})
"""Names of numbers without a unit."""

OWN = {
    "key": "16 hex digits that name the workload; the same on every machine and in every release of one key version",
    "label": "the workload for people; not read back",
    "architecture": "a network as JSON, where the row is of one; then the operator's columns are empty",
}
"""Columns that are no field of a record."""

PER_ROW = {
    ColumnType.TEXT: "text",
    ColumnType.INTEGER: "whole number",
    ColumnType.FLOAT: "number",
    ColumnType.TIME: "UTC time",
    ColumnType.JSON: "JSON",
}

_ENTRY = re.compile(r"^(\w+(?:, \w+)*): (.*)$")


class Docs(dict[str, str]):
    """Names to what is said of them; the docstring of the record has to say something of every one."""

    def __init__(self, where: str, found: dict[str, str]) -> None:
        super().__init__(found)
        self.where = where

    def __missing__(self, name: str) -> str:
        raise SystemExit(f"{self.where}: its docstring says nothing of {name!r}; add a line to its Attributes")


def field_docs(record: type[Record]) -> Docs:
    """What the `Attributes:` section of a record's docstring says of each name."""
    return Docs(record.__name__, attributes(inspect.cleandoc(record.__doc__ or "")))


def attributes(docstring: str) -> dict[str, str]:
    """Names to what the `Attributes:` section of a docstring says of them; empty where there is no such section."""
    _, _, section = docstring.partition("Attributes:\n")
    found: dict[str, str] = {}
    names: list[str] = []
    for line in section.splitlines():
        if line and not line.startswith(" "):
            break  # the next section
        text = line.strip()
        if not line.startswith(" " * 5) and (match := _ENTRY.match(text)):
            names = match[1].split(", ")
            found |= dict.fromkeys(names, match[2])
        elif text:
            found |= {name: f"{found[name]} {text}" for name in names}
    return {name: text.removesuffix(".") for name, text in found.items()}


def member_docs(enum: type[Enum]) -> dict[str, str]:
    """Value of each member to the text below it."""
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(enum))).body
    assert isinstance(definition, ast.ClassDef)
    found: dict[str, str] = {}
    name = ""
    for statement in definition.body:
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            name = str(enum[statement.targets[0].id].value)
            found[name] = ""
        elif name and isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
            found[name] = " ".join(str(statement.value.value).split())
            name = ""
    return found


def unit(name: str) -> str:
    """Of the number of that name; empty where it has none."""
    if name in FRACTIONS:
        return "fraction"
    return next((text for end, text in UNITS.items() if name.endswith(end)), "")


def table_columns() -> Iterator[tuple[str, ...]]:
    """Name, type, unit and meaning of every column of a table file."""
    docs = Docs("OperatorSpec or Measurement", {**field_docs(OperatorSpec), **field_docs(Measurement), **OWN})
    for column in COLUMNS:
        optional = "" if not column.nullable else ", or empty"
        yield f"`{column.name}`", PER_ROW[column.type] + optional, unit(column.name), docs[column.name]


def sample_columns() -> Iterator[tuple[str, ...]]:
    """The same of exported samples."""
    types = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false", "array": "list"}
    for prefix, record in raw_data.SAMPLES_COLUMNS:
        docs = field_docs(record)
        for name, described in record.model_json_schema()["properties"].items():
            if name in raw_data.SPREAD:
                continue
            variants = described.get("anyOf", [described])
            kind = next(variant for variant in variants if variant != {"type": "null"})
            text = "UTC time" if kind.get("format") == "date-time" else types[kind["type"]]
            optional = ", or empty" if prefix or len(variants) > 1 else ""
            yield f"`{prefix}{name}`", text + optional, unit(prefix + name) or unit(name), docs[name]


def record_fields(record: type[Record]) -> Iterator[tuple[str, ...]]:
    """Name, unit and meaning of a record's fields."""
    docs = field_docs(record)
    for name in record.model_fields:
        yield f"`{name}`", unit(name), docs[name]


def grid(headings: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """A Markdown table. Names in a row of which the same is said share a line."""
    together = [(", ".join(row[0] for row in same), *rest) for rest, same in groupby(rows, key=lambda row: row[1:])]
    lines = [headings, ("---",) * len(headings), *together]
    lines = [tuple(re.sub(r"(?<![/\w])docs/([\w-]+\.md)", r"[\1](\1)", cell) for cell in line) for line in lines]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def members(enum: type[Enum]) -> str:
    """A Markdown table of an enumeration."""
    return grid(("value", "meaning"), ((f"`{value}`", text) for value, text in member_docs(enum).items()))


def page() -> str:
    """The whole page."""
    headings, fields = ("column", "holds", "unit", "meaning"), ("field", "unit", "meaning")
    parts = [
        "# Columns",
        "Made by `python scripts/column_docs.py` from the records that the files are written from; change their docstrings, "
        "not this page.",
        "## Tables",
        "One row per operator, or per network, in every format of `profiler-service export`. Formats without nulls leave empty "
        "cells. Times are milliseconds per run.",
        grid(headings, table_columns()),
        "### Status",
        members(Status),
        "### Flags",
        members(Flag),
        "## What a table says of itself",
        "In the header of every file, and in `info` of `profiler-service tables --json` and `GET /v1/tables`.",
        grid(fields, record_fields(TableInfo)),
        "### Protocols",
        members(ProtocolName),
        "### Scale",
        "What turns sentinel units into milliseconds ([measurement.md](measurement.md#the-scale)).",
        grid(fields, record_fields(Scale)),
        "Each point of `history`:",
        grid(fields, record_fields(ScalePoint)),
        "### Check",
        "Some engines timed plainly at the end of a job.",
        grid(fields, record_fields(ScaleCheck)),
        "Its outcomes:",
        members(CheckOutcome),
        "Each of its `workloads`:",
        grid(fields, record_fields(CheckedWorkload)),
        "## Samples",
        f"`profiler-service export-samples TABLE` writes one Parquet file, version {raw_data.SAMPLES_VERSION}, "
        "with one row per visit. The schema's metadata hold the version, the table's id and its info as JSON "
        f"under `{raw_data.SAMPLES_METADATA.decode()}`. Samples are single-precision, as the database keeps them. "
        f"Columns `{raw_data.DEVICE_PREFIX}…` and `{raw_data.HOST_PREFIX}…` are empty where nothing was reported.",
        grid(headings, sample_columns()),
    ]
    return "\n\n".join(parts) + "\n"


def main() -> None:
    """Write the page, or compare it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true")
    if not parser.parse_args().check:
        PAGE.write_text(page(), encoding="utf-8")
    elif PAGE.read_text(encoding="utf-8") != page():
        sys.exit(f"{PAGE} is out of date; write it with python scripts/column_docs.py")


if __name__ == "__main__":
    main()
