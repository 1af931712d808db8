"""The note that outlives a worker."""

from __future__ import annotations

import pickle
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
