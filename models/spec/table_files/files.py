"""Tables as bytes and files, in any of the formats."""

from __future__ import annotations

import os
import pickletools
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

from models.spec.errors import OpclockError, TableFileError, UnsafeTableError
from models.spec.table_files.arrow_formats import ArrowCodec, ParquetCodec
from models.spec.table_files.codec import PICKLE_HINT, TableCodec
from models.spec.table_files.columns import from_row, to_row
from models.spec.table_files.csv_format import CsvCodec
from models.spec.table_files.header import Header
from models.spec.table_files.json_format import JsonCodec
from models.spec.table_files.npy_format import NpyCodec
from models.spec.tables import Table


class TableFormat(StrEnum):
    """The formats of table files; the value is also their usual extension."""

    CSV = "csv"
    JSON = "json"
    PARQUET = "parquet"
    ARROW = "arrow"
    NPY = "npy"


_CODECS: Mapping[TableFormat, TableCodec] = {
    TableFormat.CSV: CsvCodec(),
    TableFormat.JSON: JsonCodec(),
    TableFormat.PARQUET: ParquetCodec(),
    TableFormat.ARROW: ArrowCodec(),
    TableFormat.NPY: NpyCodec(),
}


def to_bytes(table: Table, file_format: TableFormat) -> bytes:
    """The table in that format; the same bytes for the same table. Raises TableFileError where a library is missing."""
    header = Header(count=len(table.entries), info=table.info)
    return _CODECS[file_format].encode(header, [to_row(entry) for entry in table.entries])


def from_bytes(data: bytes, file_format: TableFormat | None = None, *, source: str = "table") -> Table:
    """The table in those bytes, equal to the one that was written.

    Args:
        data: a whole file.
        file_format: what it is; None to see from its first bytes.
        source: where it came from, named in messages.

    Raises:
        UnsafeTableError: it is a pickle; nothing of it was executed.
        TableFileError: it is no table, cut short, damaged, or of a later version.
    """
    try:
        found = file_format or _detect(data)
        header, rows = _CODECS[found].decode(data)
        header.require_count(len(rows))
        return Table(info=header.info, entries=tuple(from_row(row) for row in rows))
    except TableFileError as error:
        raise type(error)(f"{source}: {error}", hint=error.hint) from error
    # Four libraries parse what may be anything at all; no list of their exceptions would stay complete.
    except Exception as error:
        hint = error.hint if isinstance(error, OpclockError) else ""
        raise TableFileError(
            f"{source}: it is cut short, damaged or no table of opclock's: {error or type(error).__name__}",
            hint=hint or "Export or copy it again.",
        ) from error


def write_table(table: Table, path: Path, file_format: TableFormat) -> None:
    """Write the table to a file, which is whole at every moment: an earlier one is replaced only by a complete one.

    Raises:
        TableFileError: it cannot be written, or a library is missing.
    """
    data = to_bytes(table, file_format)
    try:
        if path.exists() and not path.is_file():  # a device or a pipe
            path.write_bytes(data)
            return
        target = path.resolve()
        part = target.with_name(f".{target.name}.{os.getpid()}.part")
        try:
            part.write_bytes(data)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise TableFileError(
            f"{path} cannot be written: {error.strerror or error}", hint="Name another file, or make room and access for it."
        ) from error


def read_table(path: Path) -> Table:
    """The table in a file, whatever its format and name. Raises what `from_bytes` raises, or TableFileError."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise TableFileError(
            f"{path} cannot be read: {error.strerror or error}", hint="Check the name and the rights of the file."
        ) from error
    return from_bytes(data, source=str(path))


def _detect(data: bytes) -> TableFormat:
    if not data:
        raise TableFileError("it is empty", hint="Export or copy it again.")
    start = data[:64].lstrip()
    for file_format, codec in _CODECS.items():
        if start.startswith(codec.magic):
            return file_format
    if _is_pickle(data):
        raise UnsafeTableError("it is a pickle, which could run code when read", hint=PICKLE_HINT)
    known = ", ".join(TableFormat)
    raise TableFileError(f"it is none of the formats {known}", hint="Use a file that `profiler-service export` wrote.")


def _is_pickle(data: bytes) -> bool:
    """Whether the bytes are a pickle of any protocol: its opcodes are listed, never executed."""
    if data.startswith(b"\x80"):  # protocol 2 and later, whole or not
        return True
    try:
        return any(opcode.name == "STOP" for opcode, _, _ in pickletools.genops(data))
    except Exception:  # whatever pickletools makes of bytes that are no pickle
        return False
