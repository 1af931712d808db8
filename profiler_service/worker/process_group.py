"""Worker processes that each lead a process group of their own, so that what a runtime starts ends with its worker.

A build may start compilers, and a compiler may ignore SIGTERM. Whenever a worker is ended, or found to have ended by itself,
its whole group is killed. A process that leaves the group (`setsid`) is out of reach.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from contextlib import suppress
from multiprocessing.context import SpawnContext, SpawnProcess
from multiprocessing.popen_spawn_posix import Popen
from multiprocessing.process import BaseProcess


def lead_group() -> None:
    """Make this worker process the leader of a group of its own, whose number is its own. Does nothing elsewhere."""
    if multiprocessing.parent_process() is not None:
        os.setpgid(0, 0)


def end_own_group() -> None:
    """Kill this process and, where it leads a group, all others in it."""
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


class _GroupPopen(Popen):
    """The parent's hold on one worker: ends its whole group."""

    def poll(self, flag: int = os.WNOHANG) -> int | None:
        """As usual; but the group is killed before the process's number may be given to another."""
        if self.returncode is None and hasattr(os, "waitid"):  # macOS has it from Python 3.13 on
            with suppress(ChildProcessError):
                if os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT | flag) is not None:
                    self._kill_group()
        elif self.returncode is None and super().poll(flag) is not None:
            self._kill_group()
        return super().poll(flag)

    def terminate(self) -> None:
        """Kill the group, at once: a runtime need not heed SIGTERM, and what is half written is never taken for whole."""
        if self.returncode is None:
            self._kill_group()
            with suppress(ProcessLookupError):  # one that has only just begun does not lead a group yet
                os.kill(self.pid, signal.SIGKILL)

    kill = terminate

    def _kill_group(self) -> None:
        with suppress(ProcessLookupError, PermissionError):  # macOS: EPERM where only the ended process is left
            os.killpg(self.pid, signal.SIGKILL)


class GroupProcess(SpawnProcess):
    """A spawned process that is ended together with the group that it leads."""

    @staticmethod
    def _Popen(process_obj: BaseProcess) -> Popen:  # noqa: N802 (multiprocessing's name)
        return _GroupPopen(process_obj)


class GroupContext(SpawnContext):
    """Multiprocessing's `spawn`, with such processes; they call `lead_group` when they start."""

    Process = GroupProcess
