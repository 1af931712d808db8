"""What every worker process does before its first task."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Sequence
from importlib import import_module
from multiprocessing.connection import wait


def start(cores: Sequence[int], modules: Sequence[str]) -> None:
    """Settle in: end with the service, keep to the given cores, import the given modules.

    Args:
        cores: what to be pinned to; empty for no pinning. Threads that a runtime makes later inherit it.
        modules: what to import now, so that no task pays for it, and so that backends, operator kinds and search spaces
            registered there are known.
    """
    _end_with_parent()
    if cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)
    for module in modules:
        import_module(module)


def _end_with_parent() -> None:
    """Die as soon as the parent does, even in the middle of a run: whoever starts next must find the device idle."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_exit_after, args=(parent.sentinel,), name="end-with-parent", daemon=True).start()


def _exit_after(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)
