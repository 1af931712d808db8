"""Questions to NVML that not every board answers. `pynvml` is handed in: who asks imports it when it is needed."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any


def told(pynvml: Any, function: Callable[..., Any], *arguments: Any) -> Any:
    """NVML's answer; None for what a board, such as a Jetson's, does not support, or a driver does not know."""
    with suppress(pynvml.NVMLError_NotSupported, pynvml.NVMLError_FunctionNotFound):
        return function(*arguments)
    return None


def other_processes(pynvml: Any, handle: Any) -> int | None:
    """How many compute on that GPU besides this one, whoever owns them; None where not told.

    Inside a container, NVML counts in the host's process ids: this process is then one of the others.
    """
    with suppress(pynvml.NVMLError_NoPermission):
        processes = told(pynvml, pynvml.nvmlDeviceGetComputeRunningProcesses, handle)
        return None if processes is None else sum(process.pid != os.getpid() for process in processes)
    return None
