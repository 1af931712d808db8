"""A cache of what this process built, so that an engine is built once however many rounds it is timed in.

All rounds then time the same kernels, and how much builds differ is a question of its own. The cache is never in files: whoever
can write a file must not be able to choose what runs.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, Protocol, TypeVar

LIMIT_BYTES = 2**31
"""A large search space has a thousand graphs of about a megabyte."""


class Sized(Protocol):
    """Something built."""

    @property
    def nbytes(self) -> int:
        """Memory that it takes."""


T = TypeVar("T", bound=Sized)


class CompiledCache(Generic[T]):
    """Drops the least recently used first.

    Args:
        limit_bytes: of memory that all may take together.
    """

    def __init__(self, limit_bytes: int = LIMIT_BYTES) -> None:
        self._limit_bytes = limit_bytes
        self._entries: OrderedDict[Hashable, T] = OrderedDict()
        self._bytes = 0

    def get(self, key: Hashable, build: Callable[[], T]) -> T:
        """What was built under that key; built now if it is not there. What `build` raises passes through."""
        if key in self._entries:
            self._entries.move_to_end(key)
            return self._entries[key]
        built = build()
        self._entries[key] = built
        self._bytes += built.nbytes
        while self._bytes > self._limit_bytes:
            _, dropped = self._entries.popitem(last=False)
            self._bytes -= dropped.nbytes
        return built
