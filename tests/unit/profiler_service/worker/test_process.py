"""The note that outlives a worker."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from profiler_service.worker.process import ActivityFile, Phase

KEY = "0123456789abcdef"


def test_the_last_note_counts(tmp_path: Path) -> None:
    file = ActivityFile.create(tmp_path / "note", allowance_s=60)
    assert file.read().phase is Phase.STARTING
    worker: ActivityFile = pickle.loads(pickle.dumps(file))
    worker.note(Phase.BUILDING, KEY, 60)
    worker.note(Phase.RUNNING, KEY, 60)
    activity = file.read()
    assert (activity.phase, activity.key, activity.overdue) == (Phase.RUNNING, KEY, False)
    worker.note(Phase.RUNNING, None, -1)
    activity = file.read()
    assert (activity.phase, activity.key, activity.overdue) == (Phase.RUNNING, None, True)


def test_last_words_come_after_the_last_note(tmp_path: Path) -> None:
    file = ActivityFile.create(tmp_path / "note", allowance_s=60)
    file.note(Phase.RUNNING, KEY, 60)
    assert file.read().last_words == ""
    file.say("das Gerät antwortet nicht: 'illegal \udcff access'")
    activity = file.read()
    assert (activity.phase, activity.key, activity.overdue) == (Phase.RUNNING, KEY, False)
    assert activity.last_words == "das Gerät antwortet nicht: 'illegal ? access'"


def test_two_tasks_never_share_a_file(tmp_path: Path) -> None:
    ActivityFile.create(tmp_path / "note", allowance_s=1)
    with pytest.raises(FileExistsError):
        ActivityFile.create(tmp_path / "note", allowance_s=1)


def test_a_limit_of_memory_that_the_process_has_already_is_not_raised() -> None:
    script = """
import resource
from profiler_service.worker.process import limit_memory
resource.setrlimit(resource.RLIMIT_DATA, (2**34, 2**34))
for limit in (2**35, 2**33):
    limit_memory(limit)
    print(*resource.getrlimit(resource.RLIMIT_DATA))
"""
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert [tuple(map(int, line.split())) for line in said.splitlines()] == [(2**34, 2**34), (2**33, 2**33)]
