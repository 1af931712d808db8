"""What every worker process does before its first task, and the note it leaves of what it is doing.

A process that dies cannot say what killed it, and one that hangs does not return. So it notes each step that may end
badly before taking it, together with the time it may take; the note costs some microseconds and is never made within a
timed window. One that ends itself says why.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import struct
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from importlib import import_module
from multiprocessing.connection import wait
from pathlib import Path
from typing import Self

from profiler_service.worker.environment import remove_secrets
from profiler_service.worker.process_group import end_own_group, lead_group


class Phase(IntEnum):
    """What a worker may be doing."""

    STARTING = 0
    EXPORTING = 1
    BUILDING = 2
    RUNNING = 3

    @property
    def verb(self) -> str:
        """For messages: `while building …`."""
        return self.name.lower()


@dataclass(frozen=True)
class Activity:
    """One step.

    Attributes:
        phase: what is done.
        key: of the graph it is done to; None where several are at work at once.
        deadline: when it should be over, on the system's monotonic clock, in seconds.
        last_words: why the worker ended itself; empty while it has not.
    """

    phase: Phase
    key: str | None
    deadline: float
    last_words: str = ""

    @property
    def overdue(self) -> bool:
        """Whether it has taken longer than it may."""
        return time.monotonic() > self.deadline


_RECORD = struct.Struct("<B16sd")


@dataclass(frozen=True)
class ActivityFile:
    """Where one worker notes its activity and the service's process reads it. Picklable."""

    path: Path

    @classmethod
    def create(cls, path: Path, allowance_s: float) -> Self:
        """A file that says that the worker is starting, and has so many seconds to do so."""
        path.touch(exist_ok=False)
        file = cls(path)
        file.note(Phase.STARTING, None, allowance_s)
        return file

    def note(self, phase: Phase, key: str | None, allowance_s: float) -> None:
        """From now on this is done, for that many seconds at most."""
        record = _RECORD.pack(phase, (key or "").encode(), time.monotonic() + allowance_s)
        with self.path.open("r+b", buffering=0) as file:
            os.pwrite(file.fileno(), record, 0)

    def say(self, last_words: str) -> None:
        """Why the worker ends itself now. Comes after its last note, and leaves that as it is."""
        with self.path.open("ab") as file:
            file.write(last_words.encode(errors="replace"))

    def read(self) -> Activity:
        """The last note, and the last words if there are any."""
        content = self.path.read_bytes()
        phase, key, deadline = _RECORD.unpack_from(content)
        last_words = content[_RECORD.size :].decode(errors="replace")
        return Activity(Phase(phase), key.rstrip(b"\0").decode() or None, deadline, last_words)

    def remove(self) -> None:
        """Delete the file."""
        self.path.unlink(missing_ok=True)


def start(cores: Sequence[int], modules: Sequence[str], memory_bytes: int | None = None) -> None:
    """Prepare the process: forget credentials, lead a group, end with the service, keep to the cores, import the modules, and
    keep to the memory.

    Args:
        cores: what to be pinned to; empty for no pinning. Threads that a runtime makes later inherit it.
        modules: what to import now, so that no task pays for it, and so that backends, operator kinds and search spaces
            registered there are known.
        memory_bytes: that it may take from now on; None for any. Linux alone counts it.
    """
    remove_secrets(os.environ)
    lead_group()
    _end_with_parent()
    if cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)
    for module in modules:
        import_module(module)
    if memory_bytes is not None and sys.platform == "linux":
        limit_memory(_data_bytes() + memory_bytes)


def limit_memory(limit: int) -> None:
    """Keep this process to so many bytes of private memory, or to what it is held to already where that is less."""
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if hard != resource.RLIM_INFINITY:  # nobody but root may go beyond it
        limit = min(limit, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def _data_bytes() -> int:
    """Private memory that this process has, as Linux counts it against RLIMIT_DATA."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields["VmData"].split()[0]) * 1024


def _end_with_parent() -> None:
    """Die as soon as the parent does, with the whole group and even in the middle of a run: whoever starts next must find the
    device idle.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_exit_after, args=(parent.sentinel,), name="end-with-parent", daemon=True).start()


def _exit_after(sentinel: int) -> None:
    wait([sentinel])
    end_own_group()
