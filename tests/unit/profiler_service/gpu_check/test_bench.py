"""Commands of a part: their time, their end, and what of them is kept."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from profiler_service.gpu_check import bench as module
from profiler_service.gpu_check.bench import ROOT, Bench, OutOfTimeError, PartError
from profiler_service.gpu_check.choices import REHEARSAL

HANGING = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
TELLING_AT_THE_END = """
import signal, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # as our commands do: in the background it may be ignored
try:
    time.sleep(60)
except KeyboardInterrupt:
    print('{"rebuilds_s": 0.5}')
"""
WITH_A_CHILD = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); print('{}')"


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(REHEARSAL, tmp_path, "part", 60.0)


def test_the_document_is_what_stdout_ends_with(bench: Bench) -> None:
    assert bench.run("noisy", "-c", "print('hello'); print('{\"a\": 1}')").document == {"a": 1}
    assert bench.run("silent", "-c", "pass").document is None


def test_a_failure_is_told_with_the_commands_own_words(bench: Bench) -> None:
    with pytest.raises(PartError, match=r"broken ended with 1: .*ZeroDivisionError"):
        bench.run("broken", "-c", "1 / 0")
    assert bench.commands[-1].returncode == 1
    assert bench.run("expected", "-c", "raise SystemExit(7)", accepts=(7,)).returncode == 7


def test_a_refusal_is_no_failure(bench: Bench) -> None:
    refused = bench.run("refused", "profiler-service", "table1", "--dtype", "float17", "--json")
    assert refused.refusal is not None
    assert "float17" in refused.refusal


def test_our_commands_need_not_be_installed(bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "BIN", tmp_path / "no" / "bin")
    refused = bench.run("refused", "profiler-service", "table1", "--dtype", "float17", "--json")
    assert refused.refusal is not None
    assert "Usage" in (bench.run("help", "nas-client", "--help").stderr + (bench.folder / "help.out").read_text())


def test_commands_of_an_installed_package_run_where_the_user_is(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    bench.run("checkout", "-c", f"import os; assert os.getcwd() == {str(ROOT)!r}")
    monkeypatch.setattr(module, "ROOT", tmp_path / "site-packages")
    bench.run("installed", "-c", f"import os; assert os.getcwd() == {str(tmp_path.resolve())!r}")


def test_visits_of_all_databases_of_a_part_are_counted(bench: Bench) -> None:
    assert bench.count_visits() == 0
    for path, visits in ((bench.database, 3), (bench.folder / "process-1.sqlite", 2)):
        with closing(sqlite3.connect(path)) as database:
            database.execute("CREATE TABLE visits (graph_key)")
            database.executemany("INSERT INTO visits VALUES (?)", [("key",)] * visits)
            database.commit()
    (bench.folder / "damaged.sqlite").write_bytes(b"no database")
    assert bench.count_visits() == 5


def test_an_error_of_another_kind_is_no_refusal(bench: Bench, tmp_path: Path) -> None:
    absent = tmp_path / "absent.sqlite"
    with pytest.raises(PartError, match=r"ended with 3: .*absent"):
        bench.run("absent", "profiler-service", "tables", "--database", absent, "--json")


def test_a_command_whose_time_is_up_is_interrupted(tmp_path: Path) -> None:
    bench = Bench(REHEARSAL, tmp_path, "part", 1.5)
    with pytest.raises(OutOfTimeError, match="slow was interrupted"):
        bench.run("slow", "-c", "import time; time.sleep(60)")
    with pytest.raises(OutOfTimeError, match="no time left for next"):
        bench.run("next", "-c", "pass")
    assert [command.name for command in bench.commands] == ["slow"]


def test_what_an_interrupted_command_still_says_is_not_lost(tmp_path: Path) -> None:
    bench = Bench(REHEARSAL, tmp_path, "part", 3.0)
    with pytest.raises(OutOfTimeError) as caught:
        bench.run("told", "-c", TELLING_AT_THE_END)
    assert caught.value.document == {"rebuilds_s": 0.5}
    assert caught.value.seconds == bench.commands[-1].seconds > 1
    with pytest.raises(OutOfTimeError) as caught:
        bench.run("next", "-c", "pass")
    assert (caught.value.document, caught.value.seconds) == (None, 0.0), "it was not started"


def test_a_command_that_does_not_listen_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GRACE_S", 0.2)
    bench = Bench(REHEARSAL, tmp_path, "part", 2.0)
    with pytest.raises(OutOfTimeError):
        bench.run("deaf", "-c", HANGING)
    assert bench.commands[-1].returncode == -9


def test_nothing_that_a_command_started_outlives_it(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    sessions: list[int] = []
    ended = module._end_what_is_left
    monkeypatch.setattr(module, "_end_what_is_left", lambda process: (sessions.append(process.pid), ended(process)))
    bench.run("parent", "-c", WITH_A_CHILD)
    deadline = time.monotonic() + 10
    while _alive(sessions[0]) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not _alive(sessions[0])


def _alive(group: int) -> bool:
    """Whether a process of that group runs; one that nobody has waited for yet does not."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group and fields[0] != "Z":
            return True
    return False


def test_names_of_users_are_left_out_of_what_is_kept(bench: Bench) -> None:
    bench.run("telling", "-c", "print('/tmp/pytest-of-alice/pytest-0/test_one0', repr('/tmp/pytest-of-bob'))")
    said = (bench.folder / "telling.out").read_text()
    assert said.split() == ["/tmp/pytest-of-user/pytest-0/test_one0", "'/tmp/pytest-of-user'"]


def test_folders_of_the_box_are_left_out_of_what_is_kept(bench: Bench) -> None:
    bench.run("telling", "-c", f"print({str(ROOT / 'docs')!r}, {str(Path.home() / 'x')!r})")
    said = (bench.folder / "telling.out").read_text()
    assert said.split()[0] == f".{os.sep}docs"
    assert str(ROOT) not in said
    assert not any(str(ROOT) in argument for argument in bench.commands[0].arguments)
