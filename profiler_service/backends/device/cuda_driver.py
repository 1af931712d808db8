"""The driver's own functions, for what a library leaves out, and a kernel of ours that blocks a stream.

pycuda, up to its latest release (2026.1), has no graphs.

The driver's library is in the process already; its functions are called by their C names, each result checked.
"""

from __future__ import annotations

import ctypes
import sys
from math import ceil
from typing import Any

from profiler_service.errors import RunError

_THREAD_LOCAL = 1
"""CU_STREAM_CAPTURE_MODE_THREAD_LOCAL: other threads may do meanwhile what they like."""

_BUS_ID_BYTES = 16

KERNEL = "blocking_kernel"

PTX = b"""\
.version 6.0
.target sm_70
.address_size 64

.visible .entry blocking_kernel(.param .u64 cycles)
{
    .reg .pred %early;
    .reg .u64 %wanted, %start, %now;
    ld.param.u64 %wanted, [cycles];
    mov.u64 %start, %clock64;
again:
    mov.u64 %now, %clock64;
    sub.u64 %now, %now, %start;
    setp.lt.u64 %early, %now, %wanted;
    @%early bra again;
    ret;
}
"""
"""Makes the device wait. As PTX, which every driver compiles itself: no CUDA toolkit is needed."""


def driver_library() -> Any:
    """The driver's library. Raises OSError where there is none."""
    return ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")


def pci_bus_id(index: int) -> str:
    """Where the device of that index is, as NVML takes it: `0000:1B:00.0`. CUDA has been started. Raises RuntimeError."""
    library, device, text = driver_library(), ctypes.c_int(), ctypes.create_string_buffer(_BUS_ID_BYTES)
    call(library, "cuDeviceGet", ctypes.byref(device), ctypes.c_int(index))
    call(library, "cuDeviceGetPCIBusId", text, ctypes.c_int(_BUS_ID_BYTES), device)
    return text.value.decode()


def call(library: Any, function: str, *arguments: Any) -> None:
    """Call it. Raises RuntimeError with the name of the code that it returns, unless that is success."""
    code = getattr(library, function)(*arguments)
    if code:
        name = ctypes.c_char_p()
        library.cuGetErrorName(code, ctypes.byref(name))  # of an unknown code it gives none
        raise RuntimeError(f"{function}: {(name.value or b'').decode() or f'CUDA error {code}'}")


class DriverGraphs:
    """Captures what is enqueued on one stream.

    Args:
        library: see `driver_library`.
        stream: the stream's handle.
    """

    def __init__(self, library: Any, stream: int) -> None:
        self._library, self._stream = library, ctypes.c_void_p(stream)

    def begin(self) -> None:
        """Record from now on. Raises RuntimeError with the code's name."""
        call(self._library, "cuStreamBeginCapture_v2", self._stream, ctypes.c_int(_THREAD_LOCAL))

    def end(self) -> DriverGraph:
        """What was recorded. Raises RuntimeError with the code's name; nothing stays captured then."""
        graph, executable = ctypes.c_void_p(), ctypes.c_void_p()
        call(self._library, "cuStreamEndCapture", self._stream, ctypes.byref(graph))
        try:
            call(self._library, "cuGraphInstantiateWithFlags", ctypes.byref(executable), graph, ctypes.c_ulonglong(0))
        finally:
            call(self._library, "cuGraphDestroy", graph)  # the executable one needs it no more
        return DriverGraph(self, executable)

    def launch(self, executable: ctypes.c_void_p) -> None:
        """Enqueue it. Raises RuntimeError with the code's name."""
        call(self._library, "cuGraphLaunch", executable, self._stream)

    def destroy(self, executable: ctypes.c_void_p) -> None:
        """Free it. Raises RuntimeError with the code's name."""
        call(self._library, "cuGraphExecDestroy", executable)


class DriverGraph:
    """An executable graph."""

    def __init__(self, graphs: DriverGraphs, executable: ctypes.c_void_p) -> None:
        self._graphs, self._executable = graphs, executable

    def launch(self) -> None:
        """Enqueue it on the stream it was captured from; does not wait."""
        if not self._executable:
            raise RunError("the graph is closed")
        self._graphs.launch(self._executable)

    def close(self) -> None:
        """Free it. Safe to call twice."""
        if self._executable:
            executable, self._executable = self._executable, ctypes.c_void_p()
            self._graphs.destroy(executable)


def cycles(seconds: float, clock_khz: int) -> int:
    """Cycles of the fastest clock that last at least so long at any."""
    return ceil(seconds * clock_khz * 1e3)
