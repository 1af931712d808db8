"""What a GPU can do at the most, by its data sheet's formula: a clock that shows more than that is wrong."""

from __future__ import annotations

from dataclasses import dataclass

from models.spec.operators import Dtype

_PLAIN = {
    "7.0": 128,
    "7.2": 128,
    "7.5": 128,
    "8.0": 128,
    "8.6": 256,
    "8.7": 256,
    "8.9": 256,
    "9.0": 256,
    "10.0": 256,
    "12.0": 256,
}
_TENSOR = {
    **{"7.0": 1024, "7.2": 1024, "7.5": 1024, "8.0": 2048, "8.6": 1024, "8.7": 2048, "8.9": 1024, "9.0": 4096},
    **{"10.0": 8192, "12.0": 1024},
}
_TF32 = {"8.0": 1024, "8.6": 512, "8.7": 1024, "8.9": 512, "9.0": 2048, "10.0": 4096, "12.0": 512}
"""Floating-point operations of one multiprocessor in one cycle, by compute capability: float32 (two for each lane), dense
16-bit products, and dense products of float32 in TF32.

Each is the most that any board of that capability does, so that no right clock fails: GeForce boards of 8.6, 8.9 and 12.0 do
half as much in TF32, and in 16 bits where they add up in float32, as professional ones of the same chip. A capability that is
missing is not checked. Source: NVIDIA's architecture white papers and data sheets."""


@dataclass(frozen=True)
class Limits:
    """What NVML says that a GPU can do. None where it does not tell.

    Attributes:
        sm_clock_mhz, memory_clock_mhz: at the most. bus_bits: width of its memory's bus.
    """

    sm_clock_mhz: float | None = None
    memory_clock_mhz: float | None = None
    bus_bits: int | None = None

    def flops(self, capability: str, multiprocessors: int, dtype: Dtype, *, tf32: bool = False) -> float | None:
        """Floating-point operations per second, float32 in TF32 only if told so; None where something is not known."""
        float32 = _TF32 if tf32 else _PLAIN
        per_cycle = (float32 if dtype == "float32" else _TENSOR).get(capability)
        return self.sm_clock_mhz * 1e6 * multiprocessors * per_cycle if per_cycle and self.sm_clock_mhz else None

    def bytes_per_s(self) -> float | None:
        """Bytes read or written per second: two transfers in a cycle of the memory's clock."""
        return 2e6 * self.memory_clock_mhz * self.bus_bits / 8 if self.memory_clock_mhz and self.bus_bits else None


def limits_of(device: str) -> Limits:
    """Of the first GPU of that name; nothing known where NVML is not there or knows no such GPU."""
    try:
        import pynvml
    except ModuleNotFoundError:
        return Limits()
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return Limits()
    try:
        for index in range(pynvml.nvmlDeviceGetCount()):
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            if pynvml.nvmlDeviceGetName(handle) == device:
                return Limits(
                    sm_clock_mhz=pynvml.nvmlDeviceGetMaxClockInfo(handle, pynvml.NVML_CLOCK_SM),
                    memory_clock_mhz=pynvml.nvmlDeviceGetMaxClockInfo(handle, pynvml.NVML_CLOCK_MEM),
                    bus_bits=pynvml.nvmlDeviceGetMemoryBusWidth(handle),
                )
    except pynvml.NVMLError:  # a GPU that does not tell, as Jetson's
        return Limits()
    finally:
        pynvml.nvmlShutdown()
    return Limits()
