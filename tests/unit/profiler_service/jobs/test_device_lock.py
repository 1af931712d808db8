"""One process at a time on a device."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from profiler_service.errors import JobError
from profiler_service.jobs.device_lock import device_lock


def ignore(_holder: str) -> None:
    """Somebody else holds the device."""


def never() -> bool:
    return False


def lock(directory: Path, device: str = "cpu", *, on_wait: Callable[[str], None] = ignore, give_up: bool = False) -> bool:
    with device_lock(device, on_wait=on_wait, stopped=lambda: give_up, directory=directory) as held:
        return held


def test_a_free_device_is_held_at_once(tmp_path: Path) -> None:
    waited: list[str] = []
    assert lock(tmp_path, on_wait=waited.append)
    assert lock(tmp_path, on_wait=waited.append)
    assert waited == []


def test_a_held_device_is_waited_for_until_that_is_called_off(tmp_path: Path) -> None:
    waited: list[str] = []
    with device_lock("cpu", on_wait=ignore, stopped=never, directory=tmp_path):
        assert not lock(tmp_path, on_wait=waited.append, give_up=True)
    (holder,) = waited
    assert f"process {os.getpid()} (" in holder


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has sockets with a name and no file")
def test_deleting_the_files_of_a_held_lock_lets_nobody_in(tmp_path: Path) -> None:
    waited: list[str] = []
    with device_lock("cpu", on_wait=ignore, stopped=never, directory=tmp_path):
        for path in tmp_path.iterdir():
            path.unlink()
        assert not lock(tmp_path, on_wait=waited.append, give_up=True)
    assert waited == ["another process"]
    assert lock(tmp_path, on_wait=waited.append)


def test_devices_are_locked_apart(tmp_path: Path) -> None:
    with device_lock("GPU 0", on_wait=ignore, stopped=never, directory=tmp_path):
        assert lock(tmp_path, "GPU 1", give_up=True)


def test_a_lock_dies_with_its_process(tmp_path: Path) -> None:
    """Killed, it cannot clean up: the operating system must."""
    script = """
        import sys, time
        from pathlib import Path
        from profiler_service.jobs.device_lock import device_lock
        with device_lock("cpu", on_wait=print, stopped=lambda: False, directory=Path(sys.argv[1])):
            print("held", flush=True)
            time.sleep(600)
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        assert not lock(tmp_path, give_up=True)
        assert lock(tmp_path, on_wait=lambda holder: process.kill())


def test_a_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    missing.touch()
    with pytest.raises(JobError, match="cannot lock the device 'cpu'") as caught:
        lock(missing)
    assert f"directory {missing} writable" in caught.value.hint
    assert "OPCLOCK_LOCK_DIR" in caught.value.hint


def test_locks_are_where_temporary_files_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one directory that ordinary users can write to everywhere."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with device_lock("cpu", on_wait=ignore, stopped=never) as held:
        assert held
        assert sorted(path.suffix for path in tmp_path.iterdir()) == [".holder", ".lock"]
