"""Jobs that are "measured" by a runner that only writes numbers down."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import nullcontext
from types import SimpleNamespace

import pytest

from models.spaces.registry import create_space
from models.spec.measurements import Flag, Measurement, Status
from models.spec.targets import TargetSpec
from models.spec.wire import JobCounts, JobPublic, JobState
from profiler_service.cli import local_jobs
from profiler_service.conditions import Conditions, CpuBounds
from profiler_service.jobs.planner import requested_workloads
from profiler_service.jobs.reporting import PhaseSeconds
from profiler_service.measure.visits import HostState
from profiler_service.storage.store import Store
from profiler_service.worker.protocol import BackendDescription

BACKEND = BackendDescription(
    target=TargetSpec(device="Test CPU", backend="onnxruntime", threads=1),
    dtypes=("float32",),
    reads_onnx=True,
    builds_on_device=False,
)
QUIET = Conditions(
    host=HostState(load=0.1, cores=2, others_busy=0.0, stolen=0.0), bounds=CpuBounds(machine_cores=2, usable=(0, 1))
)
CRASHED = {"status": Status.CRASHED, "message": "its process was killed by SIGSEGV"}


class PaperRunner:
    """Of every `failing`-th operator says that it crashed."""

    def __init__(self, store: Store, failing: int | None) -> None:
        self.store, self.failing = store, failing

    def run(self, job_id: str, on_progress: Callable[[JobPublic], None], cancelled: threading.Event) -> PhaseSeconds:
        job = self.store.job(job_id)
        operators = requested_workloads(job.request, create_space(job.request.space))
        failed = 0
        self.store.update_job(job_id, state=JobState.PLANNED)
        for number, operator in enumerate(operators):
            crashes = self.failing is not None and number % self.failing == 0
            outcome = CRASHED if crashes else {"value_ms": 0.5, "flags": (Flag.UNCONVERGED,)}
            self.store.save_measurement(job.table_id, Measurement(workload=operator, **outcome))  # type: ignore[arg-type]
            failed += crashes
        counts = JobCounts(total=len(operators), measured=len(operators) - failed, failed=failed)
        on_progress(self.store.update_job(job_id, state=JobState.DONE, counts=counts, fraction=1.0))
        return PhaseSeconds(total_s=1.0)


Setup = Callable[[int | None], None]


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Setup:
    """Has every so many-th operator fail in the next run."""

    def setup(every: int | None) -> None:
        monkeypatch.setattr(local_jobs, "look", lambda: QUIET)
        monkeypatch.setattr(local_jobs, "open_workers", lambda settings: nullcontext(SimpleNamespace(description=BACKEND)))
        monkeypatch.setattr(local_jobs, "open_runner", lambda store, settings: PaperRunner(store, every))

    return setup
