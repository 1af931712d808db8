"""JSON: the header's fields, then `entries`, a list of objects without their absent columns."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import ClassVar

from models.spec.errors import TableFileError
from models.spec.table_files.codec import TableCodec
from models.spec.table_files.columns import Row
from models.spec.table_files.header import Header


class JsonCodec(TableCodec):
    """Numbers are written by `repr`, which is exact."""

    magic: ClassVar[bytes] = b"{"

    def encode(self, header: Header, rows: Sequence[Row]) -> bytes:
        """One entry per line, so that two exports can be compared with `diff`."""
        head = _dump(header.model_dump(mode="json")).removesuffix("}")
        entries = ",\n".join(_dump({name: value for name, value in row.items() if value is not None}) for row in rows)
        return f'{head}, "entries": [\n{entries}\n]}}'.encode()

    def decode(self, data: bytes) -> tuple[Header, Sequence[Row]]:
        """See `TableCodec`."""
        document = json.loads(data)
        rows = document.pop("entries", None) if isinstance(document, dict) else None
        header = Header.read(document)
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise TableFileError("it holds no list of entries", hint="Export the table again.")
        return header, rows


def _dump(value: object) -> str:
    return json.dumps(value, allow_nan=False, ensure_ascii=False, default=datetime.isoformat)
