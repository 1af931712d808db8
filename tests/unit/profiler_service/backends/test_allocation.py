"""Out of memory, as runtimes say it."""

from __future__ import annotations

import pytest

from profiler_service.backends.errors import out_of_memory


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes."
        ),
        RuntimeError("[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Failed to allocate memory for requested buffer of size 8"),
        RuntimeError("std::bad_alloc"),
    ],
)
def test_is_recognised(error: Exception) -> None:
    assert out_of_memory(error)


def test_other_errors_are_not() -> None:
    assert not out_of_memory(RuntimeError("[ONNXRuntimeError] : 2 : INVALID_ARGUMENT : Got invalid dimensions for input"))
