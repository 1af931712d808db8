"""A backend whose engines go wrong on demand, see `faults.Fault`. Imported by worker processes alone."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from models.spec.targets import TargetSpec
from profiler_service.backends.backend_options import BackendOptions
from profiler_service.backends.base import Backend, Engine, FloatArray, GraphArtifact
from profiler_service.backends.registry import register_backend
from profiler_service.errors import BuildError, DeviceMemoryError, RunError
from tests.support.faults import BACKEND, BUILDS_FILE, Fault, child_file

LARGE_BYTES = 192 * 2**20


def _die(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)
    time.sleep(60)


def _start_child() -> None:
    """A process that does not heed SIGTERM; its number is left for the test."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child_file(os.getppid()).write_text(str(subprocess.Popen(["sleep", "60"]).pid))


class _FaultyEngine(Engine):
    engine_bytes = 64

    def __init__(self, backend: FaultyBackend, fault: Fault) -> None:
        self._backend, self._fault, self._runs, self._looks, self._open = backend, fault, 0, 0, True
        backend.live += 1

    def run(self) -> None:
        self._runs += 1
        first = self._runs == 1
        if self._backend.broken() or self._fault is Fault.BREAKS_DEVICE_IN_RUN:
            self._backend.device_broken = True
            raise RunError("an illegal memory access\nwas encountered")
        match self._fault:
            case Fault.LARGE_RUN:
                np.ones(LARGE_BYTES, np.uint8)
            case Fault.KILLED_IN_FIRST_RUN:
                _die(signal.SIGKILL)
            case Fault.HANG_IN_FIRST_RUN:
                time.sleep(60)
            case Fault.RUN_ERROR:
                raise RunError("illegal instruction in kernel 7")
            case Fault.NO_MEMORY_IN_RUN:
                raise DeviceMemoryError("no room for 8 bytes")
            case Fault.KILLED_IN_PASSES if not first:
                _die(signal.SIGSEGV)
            case Fault.RUN_ERROR_IN_PASSES if not first:
                raise RunError("not twice")

    def infer(self, array: FloatArray) -> FloatArray:
        if not self._runs:  # an output is looked at twice, and the passes come later
            self.run()
        if self._fault is Fault.NAN:
            return np.full_like(array, np.nan)
        if self._fault is Fault.CHANGES:
            self._looks += 1
            return array * np.float32(self._looks)
        return array[:, :, 1:] if self._fault is Fault.WRONG_SHAPE else array

    def close(self) -> None:
        self._backend.live -= self._open
        self._open = False


@register_backend
class FaultyBackend(Backend):
    """Its clock tells how many engines are live, one millisecond each."""

    name = BACKEND
    reads_onnx = False
    builds_on_device = False
    dtypes = ("float32",)

    def __init__(self, options: BackendOptions) -> None:
        super().__init__(options)
        self.live = 0
        self.device_broken = False

    def broken(self) -> bool:
        return self.device_broken

    def target(self) -> TargetSpec:
        cores = ",".join(map(str, sorted(os.sched_getaffinity(0))))
        return TargetSpec(device="imagined", backend=BACKEND, options={"cores": cores})

    def build(self, artifact: GraphArtifact) -> Engine:
        if name := os.environ.get(BUILDS_FILE):
            with Path(name).open("a") as builds:
                builds.write(f"{artifact.request.key()}\n")
        fault = Fault(artifact.request.input_shape[1])
        match fault:
            case Fault.SEGFAULT_IN_BUILD:
                _die(signal.SIGSEGV)
            case Fault.EXIT_IN_BUILD:
                os._exit(3)
            case Fault.SILENT_EXIT_IN_BUILD:
                os._exit(0)
            case Fault.HANG_IN_BUILD:
                time.sleep(60)
            case Fault.HANG_WITH_CHILD:
                _start_child()
                time.sleep(60)
            case Fault.CRASH_WITH_CHILD:
                _start_child()
                _die(signal.SIGSEGV)
            case Fault.BUILD_ERROR:
                raise BuildError("no kernel for this")
            case Fault.LARGE_BUILD:
                np.ones(LARGE_BYTES, np.uint8)
            case Fault.NO_MEMORY_IN_BUILD:
                raise MemoryError
            case Fault.BUG:
                raise ZeroDivisionError("our own mistake")
        return _FaultyEngine(self, fault)

    def time_pass(self, engines: Sequence[Engine]) -> list[float]:
        for engine in engines:
            engine.run()
        return [float(self.live)] * len(engines)
