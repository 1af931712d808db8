"""Worker processes that die, hang or fail, and the real ones that do not."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest

from models.spec.architectures import ArchitectureSpec
from models.spec.errors import InvalidSpecError, UnknownNameError
from models.spec.graphs import ContextBase, GraphRequest
from models.spec.measurements import Status
from models.spec.operators import OperatorSpec
from profiler_service.backends.base import GraphArtifact, seeded_input
from profiler_service.errors import JobError
from profiler_service.jobs.worker_pool import WorkerPool
from profiler_service.jobs.workers import Workers, WorkerSettings
from profiler_service.worker.graphs import LARGE_REFERENCE_BYTES, GraphCache, missing_files
from profiler_service.worker.passed_checks import PassedChecks
from profiler_service.worker.protocol import BuildReport, Failure, Isolated, RoundRobin, TimingRequest, TimingResult
from tests.support import faults
from tests.support.dying_starts import DEATHS_FILE, doubled, environments
from tests.support.faults import BUILDS_FILE, Fault, faulty, with_reference
from tests.support.local_service import wait_until
from tests.support.repository import ROOT

HEALTHY = tuple(faulty(Fault.NONE, number) for number in range(3))
SENTINEL = faulty(Fault.NONE, 99)

SETTINGS = WorkerSettings(
    modules=(faults.MODULE,), processes=1, build_timeout_s=0.5, run_timeout_s=0.5, graph_timeout_s=60, start_timeout_s=60
)


def _group(*artifacts: GraphArtifact, sentinel: GraphArtifact = SENTINEL) -> TimingRequest:
    return TimingRequest(artifacts, RoundRobin(sentinel), passes=3, warmup_passes=1)


def _timed(outcome: TimingResult | Failure) -> TimingResult:
    assert isinstance(outcome, TimingResult), outcome
    return outcome


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    """One for all faults, so that each test also shows that the one before did no lasting harm."""
    with Workers(faults.BACKEND, cache_dir=tmp_path_factory.mktemp("cache"), settings=SETTINGS) as workers:
        yield workers


class TestDeaths:
    """The process is gone; the failure names the engine it was busy with; the rest of the group can be timed again."""

    @pytest.mark.parametrize(
        ("fault", "status", "message"),
        [
            (Fault.SEGFAULT_IN_BUILD, Status.CRASHED, "killed by signal 11 (Segmentation fault) while building"),
            (Fault.EXIT_IN_BUILD, Status.CRASHED, "ended with exit code 3 while building"),
            (Fault.HANG_IN_BUILD, Status.BUILD_TIMEOUT, "it took too long while building"),
            (Fault.SILENT_EXIT_IN_BUILD, Status.BUILD_TIMEOUT, "it took too long while building"),
            (Fault.KILLED_IN_FIRST_RUN, Status.CRASHED, "killed by signal 9 (Killed, as when memory runs out) while running"),
            (Fault.HANG_IN_FIRST_RUN, Status.RUN_TIMEOUT, "it took too long while running"),
        ],
    )
    def test_in_a_group_names_the_culprit(self, workers: Workers, fault: Fault, status: Status, message: str) -> None:
        culprit = faulty(fault)
        outcome = workers.time(_group(HEALTHY[0], culprit, *HEALTHY[1:]))
        assert isinstance(outcome, Failure)
        assert (outcome.status, outcome.key) == (status, culprit.request.key())
        assert message in outcome.message
        assert outcome.message.endswith(culprit.request.label())
        assert len(_timed(workers.time(_group(*HEALTHY))).samples_ms) == 3

    def test_in_the_passes_blames_nobody_in_particular(self, workers: Workers) -> None:
        outcome = workers.time(_group(*HEALTHY, faulty(Fault.KILLED_IN_PASSES)))
        assert isinstance(outcome, Failure)
        assert (outcome.status, outcome.key) == (Status.CRASHED, None)
        assert outcome.message.endswith("while running a group of engines")

    def test_of_an_engine_alone(self, workers: Workers) -> None:
        culprit = faulty(Fault.KILLED_IN_PASSES)
        outcome = workers.time(TimingRequest((culprit,), Isolated(), passes=3))
        assert isinstance(outcome, Failure)
        assert (outcome.status, outcome.key) == (Status.CRASHED, culprit.request.key())

    def test_while_checking_costs_that_engine_alone(self, workers: Workers) -> None:
        bad = [faulty(Fault.SEGFAULT_IN_BUILD), faulty(Fault.HANG_IN_FIRST_RUN)]
        reports = {report.key: report for report in workers.check([HEALTHY[0], bad[0], HEALTHY[1], bad[1], HEALTHY[2]])}
        assert [reports[a.request.key()].status for a in bad] == [Status.CRASHED, Status.RUN_TIMEOUT]
        assert [reports[a.request.key()].status for a in HEALTHY] == [Status.OK] * 3

    def test_a_broken_device_costs_its_culprit_alone(self, workers: Workers) -> None:
        culprit = faulty(Fault.BREAKS_DEVICE_IN_RUN)
        message = (
            "the device cannot be used any more: an illegal memory access was encountered while running "
            + culprit.request.label()
        )
        reports = {report.key: report for report in workers.check([HEALTHY[0], culprit, *HEALTHY[1:]])}
        statuses = {key: report.status for key, report in reports.items()}
        assert statuses == {a.request.key(): Status.OK for a in HEALTHY} | {culprit.request.key(): Status.CRASHED}
        assert reports[culprit.request.key()].message == message
        assert workers.time(_group(culprit, *HEALTHY)) == Failure(Status.CRASHED, message, culprit.request.key())
        assert len(_timed(workers.time(_group(*HEALTHY))).samples_ms) == 3

    def test_between_two_tasks_goes_unnoticed(self, workers: Workers) -> None:
        workers.time(_group(*HEALTHY))
        idle = [process for process in psutil.Process().children(recursive=True) if "spawn_main" in " ".join(process.cmdline())]
        assert idle
        for process in idle:
            process.kill()
        assert len(_timed(workers.time(_group(*HEALTHY))).samples_ms) == 3


class TestErrors:
    """The process lives; the engine is left out and the others are timed without it."""

    @pytest.mark.parametrize(
        ("fault", "status", "message"),
        [
            (Fault.BUILD_ERROR, Status.BUILD_ERROR, "no kernel for this"),
            (Fault.RUN_ERROR, Status.RUN_ERROR, "illegal instruction in kernel 7"),
            (Fault.NO_MEMORY_IN_BUILD, Status.OUT_OF_MEMORY, "out of memory"),
            (Fault.NO_MEMORY_IN_RUN, Status.OUT_OF_MEMORY, "no room for 8 bytes"),
        ],
    )
    def test_leave_the_rest_of_the_group_alone(self, workers: Workers, fault: Fault, status: Status, message: str) -> None:
        culprit = faulty(fault)
        times = _timed(workers.time(_group(*HEALTHY, culprit)))
        assert times.failures == (Failure(status, message, culprit.request.key()),)
        assert times.samples_ms.keys() == {a.request.key() for a in HEALTHY}
        assert workers.time(TimingRequest((culprit,), Isolated(), passes=1)) == times.failures[0]
        (report,) = workers.check([culprit])
        assert (report.status, report.message) == (status, message)

    @pytest.mark.skipif(sys.platform != "linux", reason="Linux alone counts what a process takes")
    @pytest.mark.parametrize("limited", ["build_memory_bytes", "run_memory_bytes"])
    def test_building_and_running_have_limits_of_memory_of_their_own(self, limited: str, tmp_path: Path) -> None:
        """On a processor, where engines are checked in other processes than the one that times."""
        changes = {limited: 128 * 2**20, "build_timeout_s": 30.0, "run_timeout_s": 30.0}
        culprit = faulty(Fault.LARGE_BUILD if limited == "build_memory_bytes" else Fault.LARGE_RUN)
        with Workers(faults.BACKEND, cache_dir=tmp_path, settings=SETTINGS.model_copy(update=changes)) as workers:
            (checked,) = workers.check([culprit])
            timed = workers.time(TimingRequest((culprit,), Isolated(), passes=1))
        statuses = checked.status, timed.status if isinstance(timed, Failure) else Status.OK
        expected = Status.OUT_OF_MEMORY, Status.OK
        assert statuses == (expected if limited == "build_memory_bytes" else expected[::-1])

    def test_in_the_passes_end_the_visit(self, workers: Workers) -> None:
        outcome = workers.time(_group(*HEALTHY, faulty(Fault.RUN_ERROR_IN_PASSES)))
        assert outcome == Failure(Status.RUN_ERROR, "not twice", None)

    def test_of_the_sentinel_end_the_visit(self, workers: Workers) -> None:
        sentinel = faulty(Fault.BUILD_ERROR)
        outcome = workers.time(_group(*HEALTHY, sentinel=sentinel))
        assert outcome == Failure(Status.BUILD_ERROR, "the sentinel failed: no kernel for this", sentinel.request.key())

    def test_of_ours_are_not_swallowed(self, workers: Workers) -> None:
        with pytest.raises(ZeroDivisionError, match="our own mistake"):
            workers.time(_group(faulty(Fault.BUG)))

    @pytest.mark.parametrize(
        ("fault", "status", "message"),
        [
            (Fault.NONE, Status.OK, ""),
            (Fault.NAN, Status.WRONG_OUTPUT, "NaN or infinite"),
            (Fault.CHANGES, Status.WRONG_OUTPUT, "gives another output each time"),
            (Fault.WRONG_SHAPE, Status.WRONG_OUTPUT, r"shape (1, 13, 3, 4)"),
        ],
    )
    def test_in_the_output_are_found(
        self, workers: Workers, tmp_path: Path, fault: Fault, status: Status, message: str
    ) -> None:
        artifact = with_reference(faulty(fault), tmp_path / "output.npy")
        np.save(tmp_path / "output.npy", seeded_input(artifact.request))
        (report,) = workers.check([artifact])
        assert report.status is status
        assert message in report.message
        assert report.build_s is not None
        assert report.engine_bytes == 64

    def test_a_reference_of_another_graph_is_wrong_output(self, workers: Workers, tmp_path: Path) -> None:
        artifact = with_reference(HEALTHY[0], tmp_path / "output.npy")
        np.save(tmp_path / "output.npy", seeded_input(HEALTHY[0].request) * np.float32(1.001))
        (report,) = workers.check([artifact])
        assert report.status is Status.WRONG_OUTPUT
        assert report.output_error == pytest.approx(1e-3, rel=0.1)


class TestLiveEngines:
    """The faulty backend's clock tells how many engines are live."""

    def test_all_of_a_group_are_live_at_once_and_none_afterwards(self, workers: Workers) -> None:
        for _ in range(2):
            times = _timed(workers.time(_group(*HEALTHY)))
            assert set(times.samples_ms.values()) == {(4.0, 4.0, 4.0)}  # three and the sentinel
            assert times.sentinel_ms == (4.0, 4.0, 4.0)
        alone = workers.time(TimingRequest((HEALTHY[0],), Isolated(), passes=5, warmup_passes=2))
        assert isinstance(alone, TimingResult)
        assert alone.samples_ms == {HEALTHY[0].request.key(): (1.0,) * 5}

    def test_those_that_failed_are_closed_too(self, workers: Workers) -> None:
        workers.time(_group(*HEALTHY, faulty(Fault.RUN_ERROR)))
        workers.time(_group(*HEALTHY, faulty(Fault.RUN_ERROR_IN_PASSES)))
        list(workers.check([faulty(Fault.RUN_ERROR)]))
        assert set(_timed(workers.time(_group(HEALTHY[0]))).samples_ms.values()) == {(2.0, 2.0, 2.0)}

    def test_the_timing_process_keeps_to_the_last_core(self, workers: Workers) -> None:
        assert workers.description.target.options["cores"] == str(max(os.sched_getaffinity(0)))


class TestBeforeAnythingIsBuilt:
    def test_an_unknown_backend(self, tmp_path: Path) -> None:
        with Workers("onnxruntme", cache_dir=tmp_path) as workers, pytest.raises(UnknownNameError) as caught:
            _ = workers.description
        assert caught.value.hint == "Did you mean 'onnxruntime'?"

    def test_a_dtype_the_backend_does_not_have(self, workers: Workers, tmp_path: Path) -> None:
        half = GraphRequest(
            subject=OperatorSpec(kind="conv3x3", in_channels=8, out_channels=8, height=4, width=4, dtype="float16")
        )
        with pytest.raises(InvalidSpecError, match="backend 'faulty' does not compute in float16, only in float32"):
            workers.prepare([half])

    def test_a_module_that_cannot_be_imported(self, tmp_path: Path) -> None:
        settings = SETTINGS.model_copy(update={"modules": ("tests.integration.no_such_module",)})
        with (
            Workers(faults.BACKEND, cache_dir=tmp_path, settings=settings) as workers,
            pytest.raises(JobError, match="ended 5 times as soon as they started"),
        ):
            _ = workers.description


class TestStarts:
    def pool(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deaths: int) -> WorkerPool:
        left = tmp_path / "deaths"
        left.write_text("x" * deaths)
        monkeypatch.setenv(DEATHS_FILE, str(left))
        notes = tmp_path / "notes"
        notes.mkdir()
        return WorkerPool(1, directory=notes, start_timeout_s=60.0, modules=("tests.support.dying_starts",))

    def test_workers_that_are_killed_while_they_start_are_started_again(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pool = self.pool(tmp_path, monkeypatch, deaths=3)
        try:
            assert pool.call(doubled, 21) == 42
        finally:
            pool.close()

    def test_workers_and_what_they_start_have_no_credentials(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        wanted = {"OPCLOCK_TOKEN": "opc_1", "PGPASSWORD": "pa55", "CUDA_VISIBLE_DEVICES": "0", "PATH": os.environ["PATH"]}
        for name, value in wanted.items():
            monkeypatch.setenv(name, value)
        pool = self.pool(tmp_path, monkeypatch, deaths=0)
        try:
            found = pool.call(environments, sys.executable)
        finally:
            pool.close()
        for variables in found:
            assert [variables.get(name) for name in wanted] == [None, None, "0", os.environ["PATH"]]

    def test_but_not_for_ever(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        pool = self.pool(tmp_path, monkeypatch, deaths=100)
        try:
            with pytest.raises(JobError, match="ended 5 times as soon as they started") as caught:
                pool.call(doubled, 21)
        finally:
            pool.close()
        assert "memory" in caught.value.hint

    def test_too_few_file_descriptors_are_an_error_of_the_system(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Pebble's own threads would end without a word; this one is waited out (`JobRunner`)."""
        pool = self.pool(tmp_path, monkeypatch, deaths=0)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
        monkeypatch.setattr("profiler_service.jobs.worker_pool._DESCRIPTORS", 256)
        try:
            with pytest.raises(OSError, match="Too many open files"):
                pool.call(doubled, 21)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            pool.close()


class TestEnds:
    def test_closing_from_another_thread_ends_what_is_under_way(self, tmp_path: Path) -> None:
        settings = SETTINGS.model_copy(update={"run_timeout_s": 60.0})
        with Workers(faults.BACKEND, cache_dir=tmp_path, settings=settings) as workers:
            _ = workers.description
            timer = threading.Timer(0.5, workers.close)
            timer.start()
            with pytest.raises(JobError, match="closed"):
                workers.time(_group(faulty(Fault.HANG_IN_FIRST_RUN)))
            timer.join()
            with pytest.raises(JobError, match="closed"):
                workers.time(_group(*HEALTHY))

    @pytest.mark.parametrize(
        ("fault", "status"),
        [(Fault.HANG_WITH_CHILD, Status.BUILD_TIMEOUT), (Fault.CRASH_WITH_CHILD, Status.CRASHED)],
    )
    def test_what_a_build_has_started_ends_with_its_worker(self, workers: Workers, fault: Fault, status: Status) -> None:
        outcome = workers.time(_group(faulty(fault)))
        assert isinstance(outcome, Failure)
        assert outcome.status is status
        assert _ends(_child_of_a_build(os.getpid()))

    def test_what_a_build_has_started_ends_when_the_workers_are_closed(self, tmp_path: Path) -> None:
        settings = SETTINGS.model_copy(update={"build_timeout_s": 60.0})
        children = []

        def close(workers: Workers) -> None:
            children.append(_child_of_a_build(os.getpid()))
            workers.close()

        with Workers(faults.BACKEND, cache_dir=tmp_path, settings=settings) as workers:
            closer = threading.Thread(target=close, args=(workers,))
            closer.start()
            with pytest.raises(JobError, match="closed"):
                workers.time(_group(faulty(Fault.HANG_WITH_CHILD)))
            closer.join()
        assert _ends(children[0])

    def test_no_worker_outlives_a_service_that_is_killed(self, tmp_path: Path) -> None:
        script = f"""
            from pathlib import Path
            from tests.support import faults
            from tests.integration.test_workers import SETTINGS, _group
            from profiler_service.jobs.workers import Workers
            if __name__ == "__main__":
                settings = SETTINGS.model_copy(update={{"build_timeout_s": 60.0}})
                with Workers(faults.BACKEND, cache_dir=Path({str(tmp_path)!r}), settings=settings) as workers:
                    workers.time(_group(faults.faulty(faults.Fault.HANG_WITH_CHILD)))
            """
        service = _python(script, tmp_path)
        child = _child_of_a_build(service.pid)
        children = psutil.Process(service.pid).children(recursive=True)
        assert child in [process.pid for process in children]
        os.kill(service.pid, signal.SIGKILL)
        service.communicate()
        assert all(_ends(process.pid) for process in children)


class TestChecksGoOn:
    @pytest.mark.slow
    def test_checks_of_a_job_that_is_killed_again_and_again_come_to_an_end(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        builds = tmp_path / "builds"
        monkeypatch.setenv(BUILDS_FILE, str(builds))
        artifacts = [with_reference(faulty(Fault.NONE, number), tmp_path / f"{number}-v1.npy") for number in range(12)]
        for artifact in artifacts:
            assert artifact.reference_path is not None
            np.save(artifact.reference_path, seeded_input(artifact.request))
        script = f"""
            from pathlib import Path
            from tests.support import faults
            from profiler_service.jobs.workers import Workers, WorkerSettings
            if __name__ == "__main__":
                folder = Path({str(tmp_path)!r})
                artifacts = [
                    faults.with_reference(faults.faulty(faults.Fault.NONE, number), folder / f"{{number}}-v1.npy")
                    for number in range(12)
                ]
                settings = WorkerSettings(modules=(faults.MODULE,), processes=1)
                with Workers(faults.BACKEND, cache_dir=folder, settings=settings) as workers:
                    for number, report in enumerate(workers.check(artifacts)):
                        print(report.status, flush=True)
            """
        for kills in range(3):  # each after three checks more than the one before
            service = _python(script, tmp_path)
            assert service.stdout is not None
            for _ in range(3 * (kills + 1)):
                assert service.stdout.readline().strip() == Status.OK
            service.kill()
            service.communicate()
        service = _python(script, tmp_path)
        assert service.communicate()[0].split() == [Status.OK] * 12
        made = builds.read_text().split()
        assert set(made) == {artifact.request.key() for artifact in artifacts}
        assert len(made) <= 12 + 2 * 3, "each kill costs what was under way, and no more"

    def test_a_check_counts_for_its_graph_and_target_alone(self, tmp_path: Path) -> None:
        cache, graph = GraphCache.open(tmp_path), tmp_path / "a-v1.onnx"
        graph.write_bytes(b"one")
        artifact = replace(with_reference(HEALTHY[0], tmp_path / "a-v1.npy"), onnx_path=graph)
        report = BuildReport(artifact.request.key(), Status.OK, build_s=1.5, engine_bytes=64, output_error=1e-6)
        checks = PassedChecks(cache, "0" * 16)
        checks.keep(artifact, report)
        assert checks.find(artifact) == report
        assert PassedChecks(cache, "1" * 16).find(artifact) is None
        assert checks.find(with_reference(HEALTHY[0], tmp_path / "elsewhere" / "a-v1.npy")) is None
        (kept,) = tmp_path.glob("*.check")
        kept.write_bytes(kept.read_bytes()[:-9])
        assert checks.find(artifact) is None
        checks.keep(artifact, report)
        graph.write_bytes(b"two")
        assert checks.find(artifact) is None


def _child_of_a_build(service: int) -> int:
    """The number of what the build has started, as soon as it is known."""
    file = faults.child_file(service)
    wait_until(lambda: file.exists() and file.read_text())
    number = int(file.read_text())
    file.unlink()
    return number


def _ends(number: int) -> bool:
    """Whether that process is gone, at the latest after 10 s."""
    for _ in range(200):
        try:
            if psutil.Process(number).status() == psutil.STATUS_ZOMBIE:  # nobody has asked for its exit code
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.05)
    return False


def _python(script: str, folder: Path) -> subprocess.Popen[str]:
    path = folder / "script.py"
    path.write_text(textwrap.dedent(script))
    return subprocess.Popen(
        [sys.executable, path], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True
    )


OPERATOR = OperatorSpec(kind="zoomed_conv3x3", in_channels=16, out_channels=24, height=16, width=32, stride=2)
LARGE = GraphRequest(subject=OperatorSpec(kind="conv3x3", in_channels=1, out_channels=16, height=160, width=160))
assert LARGE_REFERENCE_BYTES < 16 * 160 * 160 * 4
HEAVY = GraphRequest(
    subject=OperatorSpec(kind="conv3x3", in_channels=512, out_channels=512, height=4, width=4), in_context=True
)
HEAVY_MB = 9 * 512 * 512 * 4 / 1e6
REQUESTS = [
    GraphRequest(subject=OPERATOR, in_context=True),
    GraphRequest(subject=ContextBase.of(OPERATOR)),
    HEAVY,
]
ONE_PROCESS = WorkerSettings(processes=1)


@pytest.fixture(scope="module")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the graphs of `REQUESTS` and `LARGE` are already, made in this process to save a torch process per test."""
    from profiler_service.worker.graph_files import make_files

    cache = GraphCache.open(tmp_path_factory.mktemp("graphs"))
    for request in (*REQUESTS, LARGE):
        make_files(cache.artifact(request, reads_onnx=True), cache)
    return cache.directory


def _artifacts(workers: Workers, requests: Sequence[GraphRequest]) -> list[GraphArtifact]:
    """In the order of the requests."""
    outcomes = dict(workers.prepare(requests))
    assert outcomes.keys() == set(requests)
    return [outcome for request in requests if isinstance(outcome := outcomes[request], GraphArtifact)]


@pytest.mark.slow
class TestRealWorkers:
    """The whole way, from request to samples, in processes of their own."""

    @pytest.mark.parametrize("backend", ["onnxruntime", "torch"])
    def test_check_and_time(self, backend: str, cache_dir: Path) -> None:
        with Workers(backend, cache_dir=cache_dir, settings=ONE_PROCESS) as workers:
            *group, sentinel = _artifacts(workers, REQUESTS)
            reports = list(workers.check([*group, sentinel]))
            assert {report.key for report in reports} == {request.key() for request in REQUESTS}
            for report in reports:
                assert report.status is Status.OK
                assert report.output_error is not None
                assert report.output_error < 1e-5
            times = _timed(workers.time(TimingRequest(tuple(group), RoundRobin(sentinel), passes=5)))
            assert {len(samples) for samples in times.samples_ms.values()} == {5}
            assert len(times.sentinel_ms) == 5
            assert min(min(samples) for samples in times.samples_ms.values()) > 0
            assert min(times.build_s, times.warmup_s, times.sampling_s) > 0
            assert times.peak_rss_bytes > 2**20
            alone = workers.time(TimingRequest((sentinel,), Isolated(), passes=7))
            assert isinstance(alone, TimingResult)
            assert [len(samples) for samples in alone.samples_ms.values()] == [7]

    def test_what_is_in_the_cache_is_not_made_again(self, cache_dir: Path) -> None:
        # A file that is made takes the place of the earlier one; one that is used is only marked as used.
        files = {path: path.stat().st_ino for path in cache_dir.iterdir()}
        before = set(psutil.Process().children())
        with Workers("onnxruntime", cache_dir=cache_dir, settings=ONE_PROCESS) as workers:
            assert len(_artifacts(workers, REQUESTS)) == len(REQUESTS)
            assert len(set(psutil.Process().children()) - before) == 1, "the timing process, but none with torch"
        assert {path: path.stat().st_ino for path in cache_dir.iterdir()} == files

    def test_graphs_are_made_and_those_that_cannot_be_are_failures(self, tmp_path: Path) -> None:
        def network(space: str) -> GraphRequest:
            genotype = {"operators": ["conv3x3"]}
            return GraphRequest(subject=ArchitectureSpec(space=space, input_size=(64, 64), genotype=genotype))

        unknown, killing = network("nowhere"), network(faults.KILLING_SPACE)
        settings = ONE_PROCESS.model_copy(update={"modules": (faults.KILLING_SPACE_MODULE,)})
        with Workers("onnxruntime", cache_dir=tmp_path, settings=settings) as workers:
            outcomes = dict(workers.prepare([killing, REQUESTS[0], unknown]))
            made = outcomes[REQUESTS[0]]
            assert isinstance(made, GraphArtifact)
            assert [report.status for report in workers.check([made])] == [Status.OK]
        for request, status, message in (
            (unknown, Status.BUILD_ERROR, "unknown search space 'nowhere'"),
            (killing, Status.CRASHED, "killed by signal 9 (Killed, as when memory runs out) while exporting"),
        ):
            failure = outcomes[request]
            assert isinstance(failure, Failure)
            assert (failure.status, failure.key) == (status, request.key())
            assert message in failure.message

    def test_large_references_go_once_they_have_been_compared_with(self, cache_dir: Path, tmp_path: Path) -> None:
        shutil.copytree(cache_dir, tmp_path, dirs_exist_ok=True)
        with Workers("onnxruntime", cache_dir=tmp_path, settings=ONE_PROCESS) as workers:
            artifacts = _artifacts(workers, [REQUESTS[1], LARGE])
            assert [report.status for report in workers.check(artifacts)] == [Status.OK] * 2
        assert [missing_files(artifact) for artifact in artifacts] == [[], [artifacts[1].reference_path]]

    def test_a_large_reference_stays_while_a_job_of_another_service_needs_it(self, cache_dir: Path, tmp_path: Path) -> None:
        shutil.copytree(cache_dir, tmp_path, dirs_exist_ok=True)
        with Workers("torch", cache_dir=tmp_path, settings=ONE_PROCESS) as waiting:
            artifacts = _artifacts(waiting, [LARGE])
            with Workers("onnxruntime", cache_dir=tmp_path, settings=ONE_PROCESS) as workers:
                assert [report.status for report in workers.check(_artifacts(workers, [LARGE]))] == [Status.OK]
            assert not missing_files(artifacts[0])
            assert [report.status for report in waiting.check(artifacts)] == [Status.OK]
        assert missing_files(artifacts[0]) == [artifacts[0].reference_path]

    def test_memory_does_not_grow_with_the_number_of_groups(self, cache_dir: Path) -> None:
        with Workers("onnxruntime", cache_dir=cache_dir, settings=ONE_PROCESS) as workers:
            heavy, sentinel = _artifacts(workers, [HEAVY, REQUESTS[0]])
            peaks = [
                _timed(workers.time(TimingRequest((heavy,), RoundRobin(sentinel), passes=1))).peak_rss_bytes / 1e6
                for _ in range(20)
            ]
        assert peaks[-1] - peaks[4] < HEAVY_MB, f"if engines stayed, that would be {15 * HEAVY_MB} MB"

    def test_the_process_that_owns_them_loads_neither_torch_nor_a_runtime(self, cache_dir: Path, tmp_path: Path) -> None:
        script = f"""
            import sys
            from pathlib import Path
            from profiler_service.jobs.workers import Workers
            from profiler_service.worker.protocol import Isolated, RoundRobin, TimingRequest
            from tests.integration.test_workers import OPERATOR, REQUESTS
            if __name__ == "__main__":
                new = REQUESTS[0].model_copy(update={{"subject": OPERATOR.model_copy(update={{"out_channels": 8}})}})
                with Workers("onnxruntime", cache_dir=Path({str(cache_dir)!r})) as workers:
                    *group, sentinel = [artifact for _, artifact in workers.prepare([*REQUESTS[:2], new])]
                    list(workers.check(group))
                    workers.time(TimingRequest(tuple(group), RoundRobin(sentinel), passes=1))
                    workers.time(TimingRequest((sentinel,), Isolated(), passes=1))
                print(sorted({{"torch", "onnx", "onnxruntime"}} & sys.modules.keys()))
            """
        output, _ = _python(script, tmp_path).communicate()
        assert output.strip() == "[]"
