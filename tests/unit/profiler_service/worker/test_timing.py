"""What the runtime's process tells of itself."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from profiler_service.backends.backend_options import BackendOptions
from profiler_service.worker import timing
from profiler_service.worker.process import ActivityFile
from profiler_service.worker.protocol import BackendDescription
from profiler_service.worker.timing import TimingWorker
from tests.support.fake_workers import DESCRIPTION


@pytest.mark.parametrize("told", [True, False])
def test_a_description_says_all_that_the_backend_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, told: bool) -> None:
    backend = SimpleNamespace(
        target=lambda: DESCRIPTION.target,
        dtypes=("bfloat16",),
        reads_onnx=told,
        unrolls=not told,
        builds_on_device=not told,
        flush_bytes=lambda: 12,
        free_bytes=lambda: 34,
        options=SimpleNamespace(queues_kernels=told),
    )
    monkeypatch.setattr(timing, "_backend", lambda name, options: backend)
    worker = TimingWorker("fake", BackendOptions(threads=2), build_timeout_s=1.0, run_timeout_s=1.0)
    assert worker.describe(None, ActivityFile(tmp_path / "activity")) == BackendDescription(
        DESCRIPTION.target.model_copy(update={"settings": {"OPCLOCK_THREADS": "2"}}),
        dtypes=("bfloat16",),
        reads_onnx=told,
        unrolls=not told,
        builds_on_device=not told,
        flush_bytes=12,
        free_bytes=34,
        queues_kernels=told,
    )
