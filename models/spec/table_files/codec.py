"""What every format is to the rest of the package: a header and rows as bytes, and back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from importlib import import_module
from types import ModuleType
from typing import ClassVar

from models.spec.errors import TableFileError
from models.spec.table_files.columns import Row
from models.spec.table_files.header import Header

PICKLE_HINT = (
    "If it is a published table, import it with the `profiler-service import-…` command of its search space, "
    "which admits plain numbers only; otherwise use a file that `profiler-service export` wrote."
)


class TableCodec(ABC):
    """One format. Stateless."""

    magic: ClassVar[bytes]
    """How its files begin, white space aside."""

    @abstractmethod
    def encode(self, header: Header, rows: Sequence[Row]) -> bytes:
        """The file's bytes; the same for the same input."""

    @abstractmethod
    def decode(self, data: bytes) -> tuple[Header, Sequence[Row]]:
        """Header and rows, of which the caller checks the number and validates each.

        Nothing in `data` is ever executed.

        Raises:
            TableFileError: the file is none of ours, or of a later version.
            Exception: whatever the format's library makes of a damaged file; the caller translates it.
        """


def optional(name: str) -> ModuleType:
    """A library that only some formats need. Raises TableFileError that names the extra."""
    try:
        return import_module(name)
    except ImportError as error:
        raise TableFileError(f"this format needs {name}", hint="Install it: pip install 'opclock[tables]'") from error
