"""What this process built, kept so that an engine is built once however many rounds it is timed in.

All rounds then time the same kernels, and how much builds differ is a question of its own. What is kept here is never in files:
whoever can write a file must not be able to choose what runs.
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


class Kept(Generic[T]):
    """The least recently used goes first.

    Args:
        limit_bytes: of memory that all may take together.
    """

    def __init__(self, limit_bytes: int = LIMIT_BYTES) -> None:
        self._limit_bytes = limit_bytes
        self._kept: OrderedDict[Hashable, T] = OrderedDict()
        self._bytes = 0

    def get(self, key: Hashable, build: Callable[[], T]) -> T:
        """What was built under that key; built now if it is not there. What `build` raises passes through."""
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        built = build()
        self._kept[key] = built
        self._bytes += built.nbytes
        while self._bytes > self._limit_bytes:
            _, given_up = self._kept.popitem(last=False)
            self._bytes -= given_up.nbytes
        return built
