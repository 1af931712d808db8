"""How `profile` ends, by what became of its job."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing, nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from models.spec.measurements import Flag
from models.spec.rebuilds import RebuildSpread, RebuiltEntry
from models.spec.wire import JobPublic, JobState
from profiler_service.cli import local_jobs, profile
from profiler_service.errors import JobError
from profiler_service.jobs.reporting import PhaseSeconds
from profiler_service.measure.visits import Visit
from profiler_service.settings import Settings
from profiler_service.storage.store import Store
from tests.support.paper_runner import BACKEND, CRASHED, PaperRunner, Setup
from tests.unit.profiler_service.cli.conftest import Command

PROFILE = ("profile", "--space", "fasterseg", "--input-size", "64x64", "--parameter", "layers=3", "--parameter", "widths=4,")


def test_all_measured(command: Command, failing: Setup) -> None:
    failing(None)
    ended = command(*PROFILE)
    assert ended.code == 0
    assert "0 failed" in ended.out
    assert "not converged" in ended.out


def test_the_tag_of_its_table_is_mended(command: Command, failing: Setup, tmp_path: Path) -> None:
    failing(None)
    command(*PROFILE)
    tags = []
    for digest in (None, "0" * 32):
        with closing(sqlite3.connect(tmp_path / "opclock.sqlite")) as connection, connection:
            connection.execute("UPDATE contents SET digest = coalesce(?, digest)", (digest,))
        assert command(*PROFILE).code == 0
        with Store.open(tmp_path / "opclock.sqlite") as store:
            tags += [table.etag for table in store.tables()]
    assert len(tags) == 2
    assert tags[0] == tags[1]


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


@pytest.mark.parametrize(
    ("visits", "options", "said"),
    [
        (0, (), "interrupted; measurements so far are saved; run the same command again to measure the rest\n"),
        (
            3,
            (),
            "saved, 3 visits: an entry gets its value after its last round; run the same command again to measure the rest\n",
        ),
        (3, ("--remeasure",), "again within a day to measure the rest\n"),
        (3, ("--rebuild", "always"), "again within a day to measure the rest\n"),
    ],
)
def test_an_interrupted_job_tells_what_it_leaves(
    command: Command, failing: Setup, monkeypatch: pytest.MonkeyPatch, visits: int, options: tuple[str, ...], said: str
) -> None:
    failing(None)

    def run(runner: PaperRunner, job_id: str, _: object, interrupted: threading.Event) -> PhaseSeconds:
        runner.store.update_job(job_id, state=JobState.PLANNED)
        job = runner.store.update_job(job_id, state=JobState.BUILDING)
        assert job.started_at is not None
        at = [job.started_at - timedelta(seconds=1), *[job.started_at] * visits]
        runner.store.save_visits(job.table_id, [visit(number, started_at) for number, started_at in enumerate(at)])
        interrupted.set()
        runner.store.update_job(job_id, state=JobState.CANCELLED)
        return PhaseSeconds()

    monkeypatch.setattr(PaperRunner, "run", run)
    ended = command(*PROFILE, *options)
    assert ended.code == 130
    assert ended.err.endswith(said)


def visit(number: int, started_at: datetime) -> Visit:
    return Visit(
        graph_key="a",
        round=number,
        visit=0,
        samples_ms=(1.0,),
        sentinel_ms=1.0,
        passes=1,
        accepted=True,
        started_at=started_at,
    )


def test_a_job_that_somebody_else_cancels(command: Command, failing: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(None)

    def run(runner: PaperRunner, job_id: str, *_: object) -> PhaseSeconds:
        runner.store.update_job(job_id, state=JobState.CANCELLED)
        return PhaseSeconds()

    monkeypatch.setattr(PaperRunner, "run", run)
    ended = command(*PROFILE, "--json")
    assert ended.code == 3
    assert ended.document["job"]["state"] == "cancelled"
    assert "cancelled by another process" in ended.err


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
        local_jobs,
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
        self.store.add_rebuild_spread(table_id, spread)
        return seconds


def test_a_slow_device_and_differing_builds_are_told(command: Command, failing: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(None)
    monkeypatch.setattr(local_jobs, "open_runner", lambda store, settings: SlowDeviceRunner(store, None))
    text = " ".join(command(*PROFILE).out.split())
    assert "7 samples of 1 entries set aside; 1 entries flagged, because there were no other samples" in text
    assert "1 entries built 3 times: builds differ by 2.0% (worst 2.0%), runs of one build by 1.0%; 1 could not" in text
    document = command(*PROFILE, "--json").document
    assert document["throttled"] == {"samples_set_aside": 7, "entries_with_samples_set_aside": 1, "entries_flagged": 1}
    assert document["rebuild_spread"]["between_builds"] == pytest.approx(0.02)
    assert document["rebuild_spread"]["entries"][0]["within_ms"] == 0.005


@pytest.mark.parametrize(
    ("option", "expected"),
    [([], "auto"), *((["--rebuild", name], name) for name in ("auto", "always", "never"))],
)
def test_whether_to_rebuild_is_asked_for(command: Command, failing: Setup, option: list[str], expected: str) -> None:
    failing(None)
    document = command(*PROFILE, *option, "--json").document
    assert document["job"]["request"]["rebuild"] == expected
    assert document["rebuild_spread"] is None


def test_a_sample_is_the_same_for_the_same_seed(command: Command, failing: Setup) -> None:
    failing(None)
    drawn = [
        command(*PROFILE, "--sample", "5", "--seed", seed, "--json").document["job"]["request"]["workloads"]
        for seed in (1, 1, 2)
    ]
    assert drawn[0] == drawn[1] != drawn[2]
    assert [len(operators) for operators in drawn] == [5, 5, 5]


def test_a_sample_larger_than_the_space_is_refused(command: Command) -> None:
    ended = command(*PROFILE, "--sample", "100000", "--json")
    assert ended.code == 3
    assert "sample: 100000 operators of" in ended.document["error"]["message"]


def test_shares_together_are_the_whole_table(command: Command, failing: Setup) -> None:
    failing(None)
    totals = [command(*PROFILE, "--share", f"{number}/3", "--json").document["counts"]["total"] for number in (1, 2, 3)]
    assert command(*PROFILE, "--json").document["counts"]["total"] == sum(totals)


@pytest.mark.parametrize("share", ["2", "1/x", "-1/2", "3/2"])
def test_a_share_that_cannot_be_is_refused(command: Command, share: str) -> None:
    ended = command(*PROFILE, "--share", share, "--json")
    assert ended.code == 3
    assert share in ended.document["error"]["message"]


def test_a_sample_of_a_share_is_a_usage_error(command: Command) -> None:
    assert command(*PROFILE, "--share", "1/2", "--sample", "3").code == 2
