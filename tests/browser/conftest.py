"""A service, a browser that has signed in, and an account of all that the browser complained about or asked others for."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
import structlog.testing

from models.spaces.registry import create_space
from models.spec.measurements import Measurement, Status
from models.spec.operators import OperatorSpec
from models.spec.table_files import read_table
from models.spec.targets import TargetSpec
from models.spec.validations import ValidationCreate, ValidationPoint
from models.spec.wire import JobCounts, JobPublic, JobState
from profiler_service.api.app import create_app
from profiler_service.jobs.queue import JobQueue
from profiler_service.measure.visits import Visit, graph_key
from profiler_service.settings import Settings
from profiler_service.storage.store import Store
from profiler_service.tokens import Role, make_token
from profiler_service.worker.protocol import BackendDescription
from tests.support import table_samples as samples
from tests.support.local_service import running
from tests.support.repository import ROOT

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
PUBLISHED = ROOT / "lut_data"
HERE = PUBLISHED / "intel-xeon-processor/onnxruntime/fasterseg-256x512-fp32.parquet"
THERE = PUBLISHED / "amd-epyc/onnxruntime/fasterseg-256x512-fp32.parquet"
ENTRIES = 8


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)
            item.add_marker(pytest.mark.slow)


class SteppingRunner:
    """Measures an entry at each permission, the last of which fails."""

    def __init__(self, store: Store) -> None:
        self.store, self.permission = store, threading.Semaphore(0)

    def run(
        self,
        job_id: str,
        on_progress: Callable[[JobPublic], None],
        cancelled: threading.Event,
        interrupted: threading.Event,
    ) -> None:
        job = self.store.update_job(job_id, state=JobState.PLANNED, counts=JobCounts(total=ENTRIES), phase="building", eta_s=9)
        on_progress(job)
        for done in range(1, ENTRIES + 1):
            while not self.permission.acquire(timeout=0.02):
                if interrupted.is_set() or cancelled.is_set():
                    if cancelled.is_set():
                        on_progress(self.store.update_job(job_id, state=JobState.CANCELLED, phase=""))
                    return
            workload = OperatorSpec(kind="conv3x3", in_channels=done, out_channels=done, height=8, width=8)
            last = done == ENTRIES
            entry = Measurement(workload=workload, value_ms=1.0 / done)
            failed = Measurement(workload=workload, status=Status.CRASHED, message="signal 11 <in the engine>")
            self.store.save_measurement(job.table_id, failed if last else entry)
            counts = JobCounts(total=ENTRIES, measured=min(done, ENTRIES - 1), failed=int(last))
            changes = {"counts": counts, "fraction": done / ENTRIES, "phase": f"round {done} of {ENTRIES}"}
            on_progress(self.store.update_job(job_id, **changes))
        on_progress(self.store.update_job(job_id, state=JobState.DONE, phase=""))

    def abort(self, job_id: str | None = None) -> None:
        return


@dataclass
class Service:
    """A service that the browser looks at. `url` has no slash at its end."""

    url: str
    app: Any
    store: Store
    runner: SteppingRunner
    token: str
    here: str
    there: str
    odd: str
    validation: str

    def start_job(self, **fields: Any) -> str:
        """Ask for the measurement of one operator; the job's id."""
        import httpx

        operator = {"kind": "conv3x3", "in_channels": 4, "out_channels": 4, "height": 8, "width": 8}
        space = {"name": "fasterseg", "input_size": [64, 64]}
        headers = {"Authorization": f"Bearer {self.token}"}
        answer = httpx.post(f"{self.url}/v1/jobs", json={"space": space, "workloads": [operator], **fields}, headers=headers)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])


BACKEND = BackendDescription(
    target=TargetSpec(device="Browser CPU", backend="onnxruntime", versions={"onnxruntime": "1.31.1"}, threads=1),
    dtypes=("float32",),
    reads_onnx=False,
    builds_on_device=False,
)


@contextmanager
def serving_pages(folder: Path, *, front: Callable[[str], str] | None = None, **settings: Any) -> Iterator[Service]:
    """A service with two published tables, an odd one and a validation.

    Args:
        folder: for its database.
        front: starts what stands before the service, given its address, and says where that is.
        settings: of the service.
    """
    chosen = Settings.load(database=folder / "opclock.sqlite", **settings)
    with structlog.testing.capture_logs(), Store.open(chosen.database) as store:
        here, there = (store.import_table(read_table(path)) for path in (HERE, THERE))
        entry = min(read_table(HERE).entries, key=lambda entry: entry.workload.label())
        table = read_table(HERE)
        times = np.random.default_rng(0).normal(1.0, 0.05, 400).tolist()
        visits = [
            Visit(
                graph_key=graph_key(entry.workload, table.info.protocol),
                round=1,
                visit=index,
                samples_ms=tuple(times),
                sentinel_ms=0.3,
                passes=400,
                accepted=True,
                started_at=samples.A_TIME,
            )
            for index, entry in enumerate(table.entries)
        ]
        store.save_visits(here, visits)
        assert entry is not None
        odd = store.import_table(samples.table(0).model_copy(update={"entries": odd_entries()}))
        text, stored = make_token("browser", Role.PROFILE, expires_at=None)
        store.add_token(stored)
        validation = store.add_validation(here, a_validation(here)).id
        runner = SteppingRunner(store)
        with JobQueue(store, runner) as queue:  # type: ignore[arg-type]
            app = create_app(chosen, store=store, queue=queue, backend=BACKEND, exposed=True)
            with running(app) as url:
                address = front(url) if front else url
                yield Service(address, app, store, runner, text, here, there, odd, validation)


def odd_entries() -> tuple[Measurement, ...]:
    """A failure, nothing, next to nothing and a lot."""
    return (
        samples.failure(samples.operator(8), message="<b>no engine</b>"),
        samples.measurement(samples.operator(16), value_ms=0.0),
        samples.measurement(samples.operator(32), value_ms=1e-300),
        samples.measurement(samples.operator(64), value_ms=1e300),
    )


def a_validation(table_id: str) -> ValidationCreate:
    """Twelve networks, whose sums are near what was measured."""
    space = create_space(read_table(HERE).info.space)
    rng = np.random.default_rng(1)
    points = tuple(
        ValidationPoint(
            architecture=space.sample(rng),
            measured_ms=20.0 + index,
            stderr_ms=0.1,
            sum_ms=20.2 + index * 0.98,
            calibrated_ms=20.0 + index,
            macs_ms=26.0,
            multiply_adds=10**9,
        )
        for index in range(12)
    )
    agreed = {"pearson": 0.999, "kendall": 0.98, "mape": 0.01, "worst_error": 0.02, "within_5": 1.0, "bias_ms": 0.1}
    return ValidationCreate(summary={"raw": agreed, "calibrated": agreed, "verdict": {"level": "noisy"}}, points=points)


@dataclass
class Account:
    """What a browser complained about, and asked for."""

    complaints: list[str] = field(default_factory=list)
    hosts: set[str] = field(default_factory=set)

    def watch(self, context: Any) -> None:
        context.on("console", lambda message: message.type in ("error", "warning") and self.complaints.append(message.text))
        context.on("weberror", lambda error: self.complaints.append(str(error.error)))
        context.on("request", lambda request: self.hosts.add(urlsplit(request.url).netloc))


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A headless browser; while it runs, an event loop does in this process, so that it ends with these tests."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs Playwright: pip install '.[dev]'")
    if CHROMIUM is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-background-networking", "--disable-dev-shm-usage"]
        )
        yield browser
        browser.close()


def signed_in(browser: Any, service: Service, account: Account, **options: Any) -> Any:
    """A context of the browser that has signed in by the form."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, **options)
    context.set_default_timeout(20_000)
    account.watch(context)
    page = context.new_page()
    page.goto(f"{service.url}/")
    page.fill("#token", service.token)
    page.click("button.primary")
    page.wait_for_url(f"{service.url}/")
    page.close()
    return context
