"""What torch raises, as errors of our own."""

from __future__ import annotations

from profiler_service.backends.allocation import out_of_memory
from profiler_service.backends.messages import one_line
from profiler_service.errors import BackendError, DeviceMemoryError


def translated(error: RuntimeError | MemoryError, kind: type[BackendError]) -> BackendError:
    """DeviceMemoryError, or `kind`; its message in one line. Torch's own errors of every sort are RuntimeErrors."""
    text = one_line(str(error))
    return DeviceMemoryError(text) if out_of_memory(error) else kind(text)
