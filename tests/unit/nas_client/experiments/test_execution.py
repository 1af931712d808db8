"""Commands of an experiment: in order, so many at a time, each with one thread, and none left behind."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from nas_client.errors import ExperimentError
from nas_client.experiments.execution import Command, is_finished, run_commands
from nas_client.experiments.spread import Spread

PYTHON = (sys.executable, "-c")


def command(folder: Path, name: str, source: str, after: tuple[str, ...] = ()) -> Command:
    return Command(name, (source,), folder / "logs" / f"{name}.log", after)


def touching(folder: Path, name: str, needed: Sequence[str] = ()) -> Command:
    """Leaves a file, if those it needs are there."""
    source = f"import pathlib, sys; f = pathlib.Path({str(folder)!r}); "
    source += f"[(f / n).stat() for n in {list(needed)!r}]; (f / {name!r}).touch()"
    return command(folder, name, source, tuple(needed))


def test_a_command_waits_for_those_it_needs(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    commands = [touching(tmp_path, "a"), touching(tmp_path, "b", ["a"]), touching(tmp_path, "c", ["a", "b"])]
    assert run_commands(commands, at_once=3, program=PYTHON, progress=lambda done, total, _: told.append((done, total)))
    assert {"a", "b", "c"} <= {path.name for path in tmp_path.iterdir()}
    assert told[-1] == (3, 3)


@pytest.mark.parametrize("at_once", [1, 2])
def test_never_more_at_a_time_than_asked(tmp_path: Path, at_once: int) -> None:
    most = 0

    def watch(done: int, total: int, running: Sequence[str]) -> None:
        nonlocal most
        most = max(most, len(running))

    assert run_commands([touching(tmp_path, name) for name in "abcd"], at_once=at_once, program=PYTHON, progress=watch)
    assert most == at_once


def test_several_at_a_time_have_one_thread_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    source = "import os; print(os.environ['OMP_NUM_THREADS'])"
    run_commands([command(tmp_path, "alone", source)], at_once=1, program=PYTHON)
    run_commands([command(tmp_path, "beside", source)], at_once=2, program=PYTHON)
    assert [(tmp_path / "logs" / f"{name}.log").read_text().strip() for name in ("alone", "beside")] == ["7", "1"]


def test_a_failure_is_told_in_its_own_words_and_ends_the_others(tmp_path: Path) -> None:
    failing = command(tmp_path, "failing", "import sys; sys.exit('no such thing')")
    waiting = command(tmp_path, "waiting", "import time; time.sleep(600)")
    started = time.monotonic()
    with pytest.raises(ExperimentError, match="failing ended with 1: no such thing") as failed:
        run_commands([waiting, failing], at_once=2, program=PYTHON)
    assert "failing.log" in failed.value.hint
    assert time.monotonic() - started < 300


def test_sigterm_is_passed_on_and_waited_for(tmp_path: Path) -> None:
    saving = "import signal, time, pathlib\n"
    saving += f"signal.signal(signal.SIGTERM, lambda *_: (pathlib.Path({str(tmp_path / 'saved')!r}).touch(), exit(130)))\n"
    saving += f"pathlib.Path({str(tmp_path / 'ready')!r}).touch(); time.sleep(600)"

    def stop() -> None:
        while not (tmp_path / "ready").exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=stop, daemon=True).start()
    commands = [command(tmp_path, "saving", saving), touching(tmp_path, "later", ["saving"])]
    assert not run_commands(commands, at_once=1, program=PYTHON)
    assert (tmp_path / "saved").exists()
    assert not (tmp_path / "later").exists()


def test_nothing_to_run_is_done(tmp_path: Path) -> None:
    assert run_commands([], at_once=2)


@pytest.mark.parametrize(("text", "finished"), [('{"finished": true}', True), ('{"finished": false}', False), (None, False)])
def test_a_run_is_finished_when_its_result_says_so(tmp_path: Path, text: str | None, finished: bool) -> None:
    if text is not None:
        (tmp_path / "result.json").write_text(text)
    assert is_finished(tmp_path) is finished


@pytest.mark.parametrize("text", ["", "[]", "{}"])
def test_a_damaged_result_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "result.json").write_text(text)
    with pytest.raises(ExperimentError, match=r"result\.json: not a result"):
        is_finished(tmp_path)


def test_spread() -> None:
    assert Spread.of([1.0, 2.0, 3.0]).text(1, factor=100) == "200.0 ± 100.0"
    assert Spread.of([1.0]).text(2) == "1.00"
