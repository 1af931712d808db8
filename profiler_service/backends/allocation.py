"""Which exceptions mean that memory ran out. Native runtimes tell only in their messages."""

from __future__ import annotations

_PHRASES = (
    "bad allocation",
    "bad_alloc",
    "failed to allocate",
    "can't allocate memory",
    "not enough memory",
    "out of memory",
    "out_of_memory",
    "outofmemory",
)


def out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, as far as the runtimes, CUDA or Python say so."""
    return isinstance(error, MemoryError) or any(phrase in str(error).lower() for phrase in _PHRASES)
