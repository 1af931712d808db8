"""NumPy: two `.npy` arrays in one file, a structured array of the rows and the header's JSON text as bytes.

`numpy.load(path)` gives the rows. Absent values are NaN, NaT, the empty text, and `ABSENT_INTEGER`. Arrays of objects,
which NumPy would unpickle, are refused before anything else is looked at.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar

from models.spec.base import canonical_json
from models.spec.errors import TableFileError, UnsafeTableError
from models.spec.table_files.codec import (
    COLUMN_BY_NAME,
    COLUMNS,
    PICKLE_HINT,
    Column,
    ColumnType,
    Header,
    Row,
    TableCodec,
    optional,
    require_known,
)

if TYPE_CHECKING:
    import numpy as np

ABSENT_INTEGER = -(2**63)
"""NumPy's own NaT, as an integer."""

_FIXED = {ColumnType.INTEGER: "<i8", ColumnType.FLOAT: "<f8", ColumnType.TIME: "<M8[us]"}


class NpyCodec(TableCodec):
    """Texts are fixed-width, as wide as the longest."""

    magic: ClassVar[bytes] = b"\x93NUMPY"

    def encode(self, header: Header, rows: Sequence[Row]) -> bytes:
        """See `TableCodec`."""
        np = optional("numpy")
        columns = {column: [_write(column, row[column.name]) for row in rows] for column in COLUMNS}
        array = np.empty(len(rows), [(column.name, _dtype(column, values)) for column, values in columns.items()])
        for column, values in columns.items():
            array[column.name] = values
        text = canonical_json(header.model_dump(mode="json"))
        file = io.BytesIO()
        np.save(file, array, allow_pickle=False)
        np.save(file, np.frombuffer(text.encode(), np.uint8), allow_pickle=False)
        return file.getvalue()

    def decode(self, data: bytes) -> tuple[Header, Sequence[Row]]:
        """See `TableCodec`."""
        array, end = _array(data, 0)
        names = array.dtype.names
        if names is None or array.ndim != 1:
            raise TableFileError("it is not a table of opclock's", hint="Use a file that `profiler-service export` wrote.")
        text, end = _array(data, end)
        if end != len(data):
            raise TableFileError("something follows the table", hint="Export or copy it again.")
        header = Header.read(json.loads(text.tobytes()))
        header.require_count(len(array))
        require_known(names)
        columns = [_read(COLUMN_BY_NAME[name], array[name]) for name in names]
        return header, [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]


def _array(data: bytes, start: int) -> tuple[np.ndarray[Any, Any], int]:
    """The array that begins at `start`, a view of `data`, and where it ends.

    NumPy's own reader would allocate what the array's header claims, and unpickle objects.
    """
    np = optional("numpy")
    file = io.BytesIO(data)
    file.seek(start)
    version = np.lib.format.read_magic(file)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read_header(file)
    if dtype.hasobject:
        raise UnsafeTableError("it is a pickled table, which could run code when read", hint=PICKLE_HINT)
    begin, count = file.tell(), math.prod(shape)
    end = begin + count * dtype.itemsize
    if end > len(data):
        raise TableFileError("it was cut short", hint="Export or copy it again.")
    return np.frombuffer(data[begin:end], dtype).reshape(shape), end


def _dtype(column: Column, values: Sequence[Any]) -> str:
    return _FIXED.get(column.type) or f"<U{max(map(len, values), default=0) or 1}"


def _write(column: Column, value: Any) -> Any:
    match column.type:
        case ColumnType.TEXT:
            return value or ""
        case ColumnType.JSON:
            return "" if value is None else canonical_json(value)
        case ColumnType.INTEGER:
            return ABSENT_INTEGER if value is None else value
        case ColumnType.FLOAT:
            return math.nan if value is None else value
        case ColumnType.TIME:
            return None if value is None else value.replace(tzinfo=None)


def _read(column: Column, array: np.ndarray[Any, Any]) -> list[Any]:
    """The column's values, None where absent. Raises TableFileError for a column of another type."""
    expected = _FIXED.get(column.type)
    if array.dtype.str != expected and not (expected is None and array.dtype.kind == "U"):
        raise TableFileError(
            f"column {column.name!r} holds {array.dtype}, not {expected or 'text'}", hint="Export the table again."
        )
    return [_plain(column, value) for value in array.tolist()]


def _plain(column: Column, value: Any) -> Any:
    match column.type:
        case ColumnType.TEXT:
            return value or (None if column.nullable else "")
        case ColumnType.JSON:
            return json.loads(value) if value or not column.nullable else None
        case ColumnType.INTEGER:
            return None if value == ABSENT_INTEGER else value
        case ColumnType.FLOAT:
            return None if math.isnan(value) else value
        case ColumnType.TIME:
            return value.replace(tzinfo=UTC) if isinstance(value, datetime) else None
