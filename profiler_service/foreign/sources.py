"""Files from elsewhere, read within bounds, and the checks that every table of latencies must pass."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from models.spec.base import Record
from models.spec.errors import TableFileError

_BEGINNINGS = (
    (b"version https://git-lfs.github.com/spec/", "a Git LFS pointer", "Run `git lfs pull` in its repository, then try again."),
    (b"PK\x03\x04", "a ZIP archive or an Excel workbook", "Unpack it, or save the sheet as CSV, and give that file."),
    (b"\x1f\x8b", "a gzip archive", "Unpack it and give the file inside."),
)
"""How files begin that are often given in place of a table: bytes, what they are, what to do."""


SHORTEST, LONGEST = 1e-9, 1e9
"""Bounds of a latency in the file's unit, which is milliseconds or microseconds. Ratios of such values are always finite."""


@dataclass(frozen=True)
class SourceFile:
    """A file in memory.

    Attributes:
        path: where it was read.
        data: its bytes.
        digest: SHA-256 of its bytes, in hexadecimal.
    """

    path: Path
    data: bytes
    digest: str

    def refuse(self, place: str, problem: str, hint: str) -> TableFileError:
        """An error about one place in the file, such as `row 7, column 'ms'`; an empty place stands for the entire file."""
        where = f"{self.path}, {place}" if place else str(self.path)
        return TableFileError(f"{where}: {problem}", hint=hint)


def read_source(path: Path, max_bytes: int) -> SourceFile:
    """The file in memory.

    Raises:
        TableFileError: it cannot be read, is empty or larger than `max_bytes`, or is an archive or a Git LFS pointer.
    """
    try:
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except OSError as error:
        raise TableFileError(
            f"{path} cannot be read: {error.strerror or error}", hint="Check the name and the rights of the file."
        ) from error
    source = SourceFile(path, data, hashlib.sha256(data).hexdigest())
    if len(data) > max_bytes:
        raise source.refuse("", f"it has more than {max_bytes} bytes, which is the limit", "Remove what is not needed from it.")
    if not data.strip():
        raise source.refuse("", "it is empty", "Give the file with the table.")
    for beginning, what, hint in _BEGINNINGS:
        if data.startswith(beginning):
            raise source.refuse("", f"it is {what}, not a table", hint)
    return source


class Repeat(Record):
    """A row that repeats an earlier one, with the same value.

    Attributes:
        row: its number.
        first_row: number of the earlier row.
        key: what both rows name.
    """

    row: int
    first_row: int
    key: str


@dataclass(frozen=True)
class Latency:
    """One latency of a file.

    Attributes:
        row: number of its row or line; the first is 1.
        column: name of the column or field that holds the value.
        key: names what was timed; equal keys are the same thing.
        label: the same for people.
        ms: milliseconds.
    """

    row: int
    column: str
    key: str
    label: str
    ms: float

    @property
    def place(self) -> str:
        """Where it is, for messages."""
        return f"row {self.row}, column {self.column!r}"


def require_latency(source: SourceFile, place: str, value: float) -> float:
    """The value, which must be a latency. Raises TableFileError unless it is positive and within bounds."""
    if math.isnan(value):
        problem = "the value is not a number (NaN)"
    elif math.isinf(value):
        problem = "the value is infinite"
    elif value == 0:
        problem = "the value is 0, and nothing takes no time"
    elif value < 0:
        problem = f"the value is {value:g}, which is negative"
    elif not SHORTEST <= value <= LONGEST:
        problem = f"the value is {value:g}; latencies lie between {SHORTEST:g} and {LONGEST:g}"
    else:
        return value
    raise source.refuse(place, problem, "Correct the value, or remove the row. Nothing was taken from the file.")


def distinct(source: SourceFile, latencies: Iterable[Latency]) -> tuple[list[Latency], list[Repeat]]:
    """The latencies without repeats, in order, and the repeats.

    Raises:
        TableFileError: two rows have the same key and different values.
    """
    first: dict[str, Latency] = {}
    repeats = []
    for latency in latencies:
        earlier = first.setdefault(latency.key, latency)
        if earlier is latency:
            continue
        if earlier.ms != latency.ms:
            raise source.refuse(
                latency.place,
                f"{latency.label} takes {latency.ms:g} ms here and {earlier.ms:g} ms in row {earlier.row}",
                "Keep one of the two rows.",
            )
        repeats.append(Repeat(row=latency.row, first_row=earlier.row, key=latency.label))
    return list(first.values()), repeats


def require_varied(source: SourceFile, latencies: Sequence[Latency]) -> None:
    """Raises TableFileError if the table is constant: several keys, and the same value for all."""
    if len(latencies) > 1 and len({latency.ms for latency in latencies}) == 1:
        last = latencies[-1]
        raise source.refuse(
            f"rows {latencies[0].row} to {last.row}, column {last.column!r}",
            f"all {len(latencies)} values are {last.ms:g}; a constant table says nothing",
            "Check that the file has the measured values.",
        )
