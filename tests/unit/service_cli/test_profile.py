"""How `profile` ends, by what became of its job; measured by a runner that only writes numbers down."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import nullcontext
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from models.spaces.registry import create_space
from models.spec.measurements import Flag, Measurement, Status
from models.spec.rebuilds import RebuildSpread, RebuiltEntry
from models.spec.targets import TargetSpec
from models.spec.wire import JobCounts, JobPublic, JobState
from profiler_service.cli import profile
from profiler_service.errors import JobError
from profiler_service.jobs.messages import BackendDescription
from profiler_service.jobs.reporting import PhaseSeconds
from profiler_service.settings import Settings
from profiler_service.storage.store import Store
from tests.unit.service_cli.conftest import Command

PROFILE = ("profile", "--space", "fasterseg", "--input-size", "64x64", "--parameter", "layers=3", "--parameter", "widths=4,")
BACKEND = BackendDescription(
    target=TargetSpec(device="Test CPU", backend="onnxruntime", threads=1),
    dtypes=("float32",),
    reads_onnx=True,
    builds_on_device=False,
)
CRASHED = {"status": Status.CRASHED, "message": "its process was killed by SIGSEGV"}


class PaperRunner:
    """Of every `failing`-th operator says that it crashed."""

    def __init__(self, store: Store, failing: int | None) -> None:
        self.store, self.failing = store, failing

    def run(self, job_id: str, on_progress: Callable[[JobPublic], None], cancelled: threading.Event) -> PhaseSeconds:
        job = self.store.job(job_id)
        operators = create_space(job.request.space).operators()
        failed = 0
        self.store.update_job(job_id, state=JobState.RUNNING)
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
        monkeypatch.setattr(profile, "open_workers", lambda settings: nullcontext(SimpleNamespace(description=BACKEND)))
        monkeypatch.setattr(profile, "open_runner", lambda store, settings: PaperRunner(store, every))

    return setup


def test_all_measured(command: Command, failing: Setup) -> None:
    failing(None)
    ended = command(*PROFILE)
    assert ended.code == 0
    assert "0 failed" in ended.out
    assert "less certain than wished" in ended.out


def test_some_workloads_failed(command: Command, failing: Setup) -> None:
    failing(4)
    ended = command(*PROFILE, "--json")

    document = ended.document
    assert ended.code == 4
    assert document["counts"]["failed"] == len(document["failures"]) > 10
    assert document["failures"][0] | {"label": "", "key": ""} == {
        "label": "",
        "key": "",
        "status": "crashed",
        "message": CRASHED["message"],
    }


def test_people_are_shown_some_of_the_failures(command: Command, failing: Setup) -> None:
    failing(4)
    ended = command(*PROFILE)
    assert ended.code == 4
    assert ended.out.count("killed by SIGSEGV") == profile.FAILURES_SHOWN
    assert "more; --json lists them all" in ended.out


def test_a_job_that_fails_as_a_whole(command: Command, failing: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(None)

    def run(*_: object) -> None:
        raise JobError("worker processes end as soon as they start", hint="Their own message is in the service's log.")

    monkeypatch.setattr(PaperRunner, "run", run)
    ended = command(*PROFILE, "--json")
    assert ended.code == 3
    assert "as soon as they start" in ended.document["error"]["message"]


def test_a_job_that_somebody_else_cancels(command: Command, failing: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(None)

    def run(runner: PaperRunner, job_id: str, *_: object) -> PhaseSeconds:
        runner.store.update_job(job_id, state=JobState.CANCELLED)
        return PhaseSeconds()

    monkeypatch.setattr(PaperRunner, "run", run)
    ended = command(*PROFILE, "--json")
    assert ended.code == 3
    assert ended.document["job"]["state"] == "cancelled"
    assert "cancelled by somebody else" in ended.err


def test_what_was_asked_for_is_what_the_job_gets(command: Command, failing: Setup) -> None:
    failing(None)
    options = ("--classes", "7", "--batch", "2", "--protocol", "isolated", "--budget", "thorough", "--remeasure")

    request = command(*PROFILE, *options, "--json").document["job"]["request"]

    space = request["space"]
    assert (space["classes"], space["batch"], space["input_size"]) == (7, 2, [64, 64])
    assert (space["parameters"]["layers"], space["parameters"]["widths"]) == (3, [4])
    assert (request["protocol"], request["budget"], request["remeasure"]) == ("isolated", "thorough", True)


def test_settings_reach_the_workers(command: Command, failing: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(None)
    seen: list[Settings] = []
    monkeypatch.setattr(
        profile,
        "open_workers",
        lambda settings: seen.append(settings) or nullcontext(SimpleNamespace(description=BACKEND)),
    )
    command(*PROFILE, "--backend", "torch", "--threads", "2", "--core", "1")
    assert (seen[0].backend, seen[0].threads, seen[0].core) == ("torch", 2, 1)


class SlowDeviceRunner(PaperRunner):
    """Its device was throttled now and then, and builds of one entry were told apart."""

    def run(self, job_id: str, on_progress: Callable[[JobPublic], None], cancelled: threading.Event) -> PhaseSeconds:
        seconds = super().run(job_id, on_progress, cancelled)
        table_id = self.store.job(job_id).table_id
        first, second = self.store.table(table_id).entries[:2]
        self.store.save_measurement(table_id, first.model_copy(update={"samples_set_aside": 7, "throttle_reasons": "thermal"}))
        self.store.save_measurement(table_id, second.model_copy(update={"flags": (Flag.THROTTLED,), "samples_set_aside": 0}))
        built = RebuiltEntry(key=first.key(), label=first.workload.label(), value_ms=0.5, between_ms=0.01, within_ms=0.005)
        spread = RebuildSpread(builds=3, rounds=4, entries=(built,), failed=1, measured_at=datetime.now(UTC))
        self.store.set_rebuild_spread(table_id, spread)
        return seconds


def test_a_slow_device_and_differing_builds_are_told(command: Command, failing: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(None)
    monkeypatch.setattr(profile, "open_runner", lambda store, settings: SlowDeviceRunner(store, None))
    text = " ".join(command(*PROFILE).out.split())
    assert "7 samples of 1 entries set aside; 1 entries flagged, since there was nothing else" in text
    assert "1 entries built 3 times: builds differ by 2.0% (worst 2.0%), runs of one build by 1.0%; 1 could not" in text
    document = command(*PROFILE, "--json").document
    assert document["throttled"] == {"samples_set_aside": 7, "entries_with_samples_set_aside": 1, "entries_flagged": 1}
    assert document["rebuild_spread"]["between_builds"] == pytest.approx(0.02)
    assert document["rebuild_spread"]["entries"][0]["within_ms"] == 0.005


@pytest.mark.parametrize(("option", "expected"), [([], None), (["--rebuild"], True), (["--no-rebuild"], False)])
def test_whether_to_rebuild_is_asked_for(command: Command, failing: Setup, option: list[str], *, expected: bool | None) -> None:
    failing(None)
    document = command(*PROFILE, *option, "--json").document
    assert document["job"]["request"]["rebuild"] is expected
    assert document["rebuild_spread"] is None
