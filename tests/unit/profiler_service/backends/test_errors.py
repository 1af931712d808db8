"""Errors of runtimes and of CUDA, as people read them."""

from __future__ import annotations

import pytest

from profiler_service.backends.errors import out_of_memory, translated, unavailable
from profiler_service.errors import BuildError, DeviceMemoryError, RunError


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("CUDA_ERROR_NO_DEVICE: This indicates that no CUDA-capable devices were detected", "no NVIDIA GPU"),
        ("CUDA_ERROR_INVALID_DEVICE: ...", "no GPU of that index"),
        ("device_id must be within [0, 1), got 3", "no GPU of that index"),
        ("CUDA_ERROR_SYSTEM_DRIVER_MISMATCH: ...", "of different versions"),
        ("CUDA_ERROR_DEVICES_UNAVAILABLE: ...", "the GPU is busy"),
        ("CUDA_ERROR_NO_BINARY_FOR_GPU: ...", "not supported"),
        ('"cuda" is an NVIDIA driver library and can only be found via system search.', "no NVIDIA driver"),
        ("libcuda.so.1: cannot open shared object file", "no NVIDIA driver"),
        ("Found no NVIDIA driver on your system. Please check that you have an NVIDIA GPU", "no NVIDIA driver"),
        ("The NVIDIA driver on your system is too old (found version 11040).", "the NVIDIA driver is too old"),
        ("CUDA error: all CUDA-capable devices are busy or unavailable", "the GPU is busy"),
        ("CUDA error: no kernel image is available for execution on the device", "not supported by the runtime"),
        ("Torch not compiled with CUDA enabled", "built without CUDA"),
        ("cuInit failed: forward compatibility was attempted on non supported HW", "the NVIDIA driver is too old"),
        ("CUDA_ERROR_MPS_CONNECTION_FAILED: ...", "shared through MPS"),
        ("CUDA failure 2: out of memory ; GPU=0", "no memory left to start on"),
        ("something\nnew", "the GPU cannot be used: something new"),
    ],
)
def test_each_is_one_sentence_with_a_next_step(text: str, says: str) -> None:
    error = unavailable(RuntimeError(text))
    assert says in error.message
    assert "\n" not in error.message
    assert error.hint


def test_a_failed_call_says_what_was_being_done() -> None:
    with pytest.raises(RunError, match="cannot copy: CUDA_ERROR_ILLEGAL_ADDRESS"), translated("cannot copy"):
        raise RuntimeError("CUDA_ERROR_ILLEGAL_ADDRESS")
    with pytest.raises(BuildError, match="no graph: x"), translated("no graph", BuildError):
        raise RuntimeError("x")
    with pytest.raises(DeviceMemoryError), translated("no graph", BuildError):
        raise RuntimeError("CUDA_ERROR_OUT_OF_MEMORY: The API call failed")
    with pytest.raises(DeviceMemoryError, match="ours"), translated("no graph"):
        raise DeviceMemoryError("ours")


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
def test_memory_that_ran_out_is_recognised(error: Exception) -> None:
    assert out_of_memory(error)


def test_other_errors_are_not_taken_for_memory() -> None:
    assert not out_of_memory(RuntimeError("[ONNXRuntimeError] : 2 : INVALID_ARGUMENT : Got invalid dimensions for input"))
