"""What commands say of the machine before they measure, and how they wait for it."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest
import typer

from profiler_service.cli import local_jobs
from profiler_service.cli.local_jobs import CHECK_EVERY_S, QUIET_LOOKS, Start
from profiler_service.conditions import Conditions, Neighbour
from profiler_service.settings import Settings
from profiler_service.storage.store import Store
from tests.support.paper_runner import QUIET, Setup
from tests.unit.profiler_service.cli.conftest import Command

BUSY = QUIET.model_copy(
    update={
        "host": QUIET.host.model_copy(update={"others_busy": 1.5}),
        "neighbours": (Neighbour(name="cc1plus", pid=77, cores=1.4),),
    }
)
THROTTLED = QUIET.model_copy(update={"bounds": QUIET.bounds.model_copy(update={"quota_cores": 0.5})})
PROFILE = ("profile", "--space", "fasterseg", "--input-size", "64x64", "--parameter", "layers=3", "--parameter", "widths=4,")


class Machine:
    """Is as busy at each look as told, then as at the last one; its clock runs while it is waited for."""

    def __init__(self, looks: Sequence[Conditions]) -> None:
        self._looks, self.now_s, self.looked = list(looks), 0.0, 0

    def look(self) -> Conditions:
        self.now_s += 0.5
        self.looked += 1
        return self._looks.pop(0) if len(self._looks) > 1 else self._looks[0]

    def start(self, minutes: float | None) -> Start:
        return Start(minutes, look_around=self.look, clock=lambda: self.now_s, sleep=self.sleep)

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.load(database=tmp_path / "d.sqlite")


def never() -> bool:
    return False


def test_a_quiet_machine_is_neither_waited_for_nor_spoken_of(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    for minutes in (None, 10):
        machine = Machine([QUIET])
        machine.start(minutes).begin(settings, never)
        assert machine.now_s < 2
    assert capsys.readouterr().err == ""


def test_a_busy_machine_is_told_once(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    start = Machine([BUSY]).start(None)
    start.begin(settings, never)
    start.begin(settings, never)
    said = capsys.readouterr().err
    assert said.count("others keep 1.5 of 2 cores busy (cc1plus 77: 1.4)") == 1
    assert said.startswith("warning: ")


def test_waits_until_the_machine_stays_quiet(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    machine = Machine([BUSY, BUSY, QUIET, BUSY, *[QUIET] * QUIET_LOOKS])
    machine.start(10).begin(settings, never)
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "waiting up to 10 minutes for the machine to be quiet: others keep 1.5 of 2 cores busy (cc1plus 77: 1.4)"
    assert said[1].startswith("quiet after ")
    assert len(said) == 2
    assert 5 * CHECK_EVERY_S < machine.now_s < 7 * CHECK_EVERY_S


def test_when_the_time_is_up_it_goes_on_and_says_so(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    machine = Machine([BUSY])
    start = machine.start(3)
    start.begin(settings, never)
    said = capsys.readouterr().err
    assert "the machine is still busy after 3 minutes; measuring anyway" in said
    assert "left to wait: others keep" in said
    assert 180 <= machine.now_s < 200
    start.begin(settings, never)  # a second job of the same command has no time of its own
    assert machine.now_s < 205


def test_a_gpu_does_not_wait_for_the_processor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    machine = Machine([BUSY])
    machine.start(10).begin(Settings.load(database=tmp_path / "d.sqlite", backend="torch", device="cuda"), never)
    assert machine.looked == 1
    assert capsys.readouterr().err.startswith("for information: others keep 1.5 of 2 cores busy")


def test_who_waits_can_be_interrupted(settings: Settings) -> None:
    machine = Machine([BUSY])
    with pytest.raises(typer.Exit) as ended:
        machine.start(10).begin(settings, lambda: machine.looked > 2)
    assert ended.value.exit_code == 130
    assert machine.now_s < 60


def test_profile_ends_with_130_and_leaves_no_job(
    command: Command, failing: Setup, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    failing(None)

    def interrupted_look() -> Conditions:
        os.kill(os.getpid(), signal.SIGINT)
        return BUSY

    monkeypatch.setattr(local_jobs, "look", interrupted_look)
    ended = command(*PROFILE, "--wait-for-quiet", "10")
    assert ended.code == 130
    assert "interrupted before anything was measured" in ended.err
    with Store.open(tmp_path / "opclock.sqlite") as store:
        assert store.jobs() == []


@pytest.mark.parametrize("arguments", [PROFILE, ("table1",)])
def test_a_quota_is_told_with_what_it_does_before_measuring(
    command: Command, failing: Setup, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    failing(None)
    monkeypatch.setattr(local_jobs, "look", lambda: THROTTLED)
    ended = command(*arguments, "--json")
    assert ended.code == 0
    assert ended.err.count("the CPU quota is worth 0.5 cores, an engine has 1 threads: it is stopped again and again") == 1
    assert "raise the quota to 2 cores or more" in ended.err


@pytest.mark.parametrize("arguments", [PROFILE, ("table1",), ("serve", "--port", "0")], ids=lambda arguments: arguments[0])
def test_a_variable_that_is_no_setting_stops_what_measures(
    command: Command, failing: Setup, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    failing(None)
    monkeypatch.setenv("OPCLOCK_THREDS", "2")
    ended = command(*arguments, "--json")
    assert (ended.code, ended.document["error"]["code"]) == (3, "unknown_name")
    assert "no setting is called OPCLOCK_THREDS" in ended.err
    assert "Did you mean OPCLOCK_THREADS?" in ended.err
    assert not (tmp_path / "opclock.sqlite").exists()
