"""Tables as bytes and files in any of the formats, and the tag that names a table's contents."""

from __future__ import annotations

import hashlib
import pickletools
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path

from models.atomic_file import replacing
from models.plugins import missing_plugins
from models.spec.base import Record, canonical_json
from models.spec.errors import MissingPluginError, OpclockError, TableFileError, UnknownNameError, UnsafeTableError
from models.spec.table_files.arrow_formats import ArrowCodec, ParquetCodec
from models.spec.table_files.codec import PICKLE_HINT, Header, TableCodec, from_rows, to_row
from models.spec.table_files.numpy_format import NpyCodec
from models.spec.table_files.text_formats import CsvCodec, JsonCodec
from models.spec.tables import Table, TableInfo


def record_text(record: Record) -> str:
    """The canonical JSON of a record without its absent fields, so that a field added later changes no earlier text."""
    return canonical_json(record.model_dump(mode="json", exclude_none=True))


def text_digest(text: str) -> str:
    """32 hex digits that name a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def etag_of(info: TableInfo, entry_digests: Iterable[str]) -> str:
    """The tag of a table with these digests of entries, in any order; see `table_etag`."""
    return text_digest(canonical_json([record_text(info), sorted(entry_digests)]))


def table_etag(table: Table) -> str:
    """32 hex digits that name the table's contents: its info and every field of every entry.

    It names contents, not bytes: an HTTP ETag of one representation adds that representation's format.
    """
    return etag_of(table.info, (text_digest(record_text(entry)) for entry in table.entries))


class TableFormat(StrEnum):
    """The formats of table files; the value is also the default extension."""

    CSV = "csv"
    JSON = "json"
    PARQUET = "parquet"
    ARROW = "arrow"
    NPY = "npy"


CODECS: Mapping[TableFormat, TableCodec] = {
    TableFormat.CSV: CsvCodec(),
    TableFormat.JSON: JsonCodec(),
    TableFormat.PARQUET: ParquetCodec(),
    TableFormat.ARROW: ArrowCodec(),
    TableFormat.NPY: NpyCodec(),
}


def to_bytes(table: Table, file_format: TableFormat) -> bytes:
    """The table in that format. Equal tables give equal bytes. Raises TableFileError if a library is missing."""
    header = Header(count=len(table.entries), info=table.info)
    return CODECS[file_format].encode(header, [to_row(entry) for entry in table.entries])


def from_bytes(data: bytes, file_format: TableFormat | None = None, *, source: str = "table") -> Table:
    """The table in those bytes, equal to the one that was written.

    Args:
        data: contents of a file.
        file_format: what it is; None to see from its first bytes.
        source: where it came from, named in messages.

    Raises:
        UnsafeTableError: it is a pickle; nothing of it was executed.
        MissingPluginError: it needs a plugin that is not installed.
        TableFileError: it is no table, cut short, damaged, or of a later version.
    """
    with translated(source):
        header, rows = CODECS[file_format or detect(data)].decode(data)
        header.require_count(len(rows))
        with naming_plugins(header.info):
            return Table(info=header.info, entries=from_rows(rows))


@contextmanager
def naming_plugins(info: TableInfo) -> Iterator[None]:
    """An unknown name in a row, as MissingPluginError where a plugin that the table was measured with is not installed."""
    try:
        yield
    except TableFileError as error:
        if isinstance(error.__cause__, UnknownNameError) and (missing := missing_plugins(info.provenance)):
            raise MissingPluginError(
                f"the table was measured with {missing}, which is not installed here: {error.message}",
                hint=f"Install {missing}.",
            ) from error
        raise


@contextmanager
def translated(source: str) -> Iterator[None]:
    """Whatever reading a table raises, as TableFileError that names the source; a missing plugin as what it is."""
    try:
        yield
    except MissingPluginError as error:
        raise MissingPluginError(f"{source}: {error}", hint=error.hint) from error
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
    """Write the table to a file. Readers see the earlier file or the complete new one.

    Raises:
        TableFileError: it cannot be written, or a library is missing.
    """
    write_bytes(to_bytes(table, file_format), path)


def write_bytes(data: bytes, path: Path) -> None:
    """Write the bytes of a table; see `write_table`."""
    try:
        with replacing(path) as part:
            part.write_bytes(data)
    except OSError as error:
        raise TableFileError(
            f"{path} cannot be written: {error.strerror or error}", hint="Name another file, or make room and access for it."
        ) from error


def read_table(path: Path) -> Table:
    """The table in a file, whatever its format and name. Raises what `from_bytes` raises, or TableFileError."""
    return from_bytes(read_bytes(path), source=str(path))


def read_bytes(path: Path) -> bytes:
    """The bytes of a table file. Raises TableFileError."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise TableFileError(
            f"{path} cannot be read: {error.strerror or error}", hint="Check the name and the rights of the file."
        ) from error


def detect(data: bytes) -> TableFormat:
    """The format of those bytes. Raises TableFileError."""
    if not data:
        raise TableFileError("it is empty", hint="Export or copy it again.")
    start = data[:64].lstrip()
    for file_format, codec in CODECS.items():
        if start.startswith(codec.magic):
            return file_format
    if _is_pickle(data):
        raise UnsafeTableError("it is a pickle, which could run code when read", hint=PICKLE_HINT)
    known = ", ".join(TableFormat)
    raise TableFileError(f"it is none of the formats {known}", hint="Use a file that `profiler-service export` wrote.")


def _is_pickle(data: bytes) -> bool:
    """Whether the bytes are a pickle of any protocol: its opcodes are listed, never executed."""
    if data.startswith(b"\x80"):  # protocol 2 and later, complete or not
        return True
    try:
        return any(opcode.name == "STOP" for opcode, _, _ in pickletools.genops(data))
    except Exception:  # whatever pickletools makes of bytes that are no pickle
        return False
