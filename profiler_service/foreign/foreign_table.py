"""Tables whose keys are their own: they are looked up, compared and exported as they are, never mapped onto our operators."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path

from models.atomic_file import replacing
from models.spec.base import Record
from models.spec.errors import TableFileError, UnknownNameError
from profiler_service.foreign.sources import Repeat, SourceFile, read_source

MAX_FOREIGN_BYTES = 64 * 2**20

_MOST_COMPARED = 2_000
"""Keys among which the nearest one is looked for; among very many that would take minutes."""


class ForeignFormat(StrEnum):
    """The formats of foreign tables."""

    OFA_YAML = "ofa-yaml"
    """Latency tables of Once-for-All and ProxylessNAS."""
    FBNET_JSON = "fbnet-json"
    """The operator database of FBNet and ChamNet."""


class ForeignEntry(Record):
    """One latency of a foreign table.

    Attributes:
        key: its name in that table.
        type: type of its operator, in that table's words.
        ms: milliseconds.
        row: number of its line in the file.
        statistics: what else the file has about it, by the file's names and in the file's units.
    """

    key: str
    type: str
    ms: float
    row: int
    statistics: dict[str, float]


class ForeignTable(Record):
    """A foreign table. How uncertain its values are is known only as far as `statistics` say.

    Attributes:
        source: name of the file.
        sha256: digest of the file.
        format: of the file.
        value: what of the file is the latency, for people.
        device: where it was measured; empty if the file does not say.
        entries: in the file's order; keys are unique.
        repeats: lines that repeat an earlier one with the same value.
    """

    source: str
    sha256: str
    format: ForeignFormat
    value: str
    device: str
    entries: tuple[ForeignEntry, ...]
    repeats: tuple[Repeat, ...]

    def by_key(self) -> Mapping[str, ForeignEntry]:
        """Key to entry."""
        return {entry.key: entry for entry in self.entries}

    def lookup(self, key: str) -> ForeignEntry:
        """The entry of that key. Raises UnknownNameError, which says how to find the right one."""
        entries = self.by_key()
        if key not in entries:
            if len(entries) > _MOST_COMPARED:
                hint = "`profiler-service foreign show FILE --text TEXT` lists the keys with a text."
                raise UnknownNameError(f"unknown key of {self.source} {key!r}", hint=hint)
            raise UnknownNameError.of(f"key of {self.source}", key, entries)
        return entries[key]


def read_foreign(path: Path) -> ForeignTable:
    """The foreign table in a file; its format is seen from its contents.

    Raises:
        TableFileError: it cannot be read; is of no known format; or has something that its format does not have. The message
            names the line.
        UnsafeTableError: it asks for objects to be made.
    """
    from profiler_service.foreign.fbnet_json import read_fbnet
    from profiler_service.foreign.ofa_yaml import read_ofa

    source = read_source(path, MAX_FOREIGN_BYTES)
    readers: Mapping[bool, Callable[[SourceFile], ForeignTable]] = {True: read_fbnet, False: read_ofa}
    return readers[source.data.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"{", b"[")](source)


def text_of(source: SourceFile) -> str:
    """The file as text in UTF-8. Raises TableFileError."""
    try:
        return source.data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        hint = "Foreign tables are YAML of Once-for-All or JSON of FBNet."
        raise source.refuse("", f"byte {error.start} is not text in utf-8", hint) from error


class ExportFormat(StrEnum):
    """Formats that foreign tables are exported to."""

    CSV = "csv"
    JSON = "json"


def export(table: ForeignTable, file_format: ExportFormat) -> str:
    """The table as CSV (`key,type,ms,row` and its statistics) or JSON (all of `ForeignTable`)."""
    if file_format is ExportFormat.JSON:
        return json.dumps(table.model_dump(mode="json"), indent=1, allow_nan=False) + "\n"
    names = list(dict.fromkeys(name for entry in table.entries for name in entry.statistics))
    text = io.StringIO(newline="")
    lines = csv.writer(text, lineterminator="\r\n")
    lines.writerow(["key", "type", "ms", "row", *names])
    for entry in table.entries:
        statistics = [repr(entry.statistics[name]) if name in entry.statistics else "" for name in names]
        lines.writerow([entry.key, entry.type, repr(entry.ms), entry.row, *statistics])
    return text.getvalue()


def write_export(table: ForeignTable, path: Path, file_format: ExportFormat) -> None:
    """Write `export` to a file. Raises TableFileError if it cannot be written."""
    try:
        with replacing(path) as part:
            part.write_text(export(table, file_format), encoding="utf-8", newline="")
    except OSError as error:
        raise TableFileError(
            f"{path} cannot be written: {error.strerror or error}", hint="Name another file, or make room and access for it."
        ) from error
