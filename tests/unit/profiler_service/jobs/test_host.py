"""What the machine tells of itself."""

from __future__ import annotations

from pathlib import Path

import psutil

from profiler_service.jobs import host


def test_memory_is_bounded_by_the_machine_and_by_the_container(tmp_path: Path) -> None:
    (tmp_path / "memory.current").write_text("700\n")
    (tmp_path / "memory.stat").write_text("anon 400\ninactive_file 200\n")
    (tmp_path / "memory.max").write_text("1000\n")
    assert host._container_bytes(tmp_path) == 500
    (tmp_path / "memory.max").write_text("max\n")
    assert host._container_bytes(tmp_path) > psutil.virtual_memory().total
    assert host._container_bytes(tmp_path / "none") > psutil.virtual_memory().total
    assert 0 < host.free_memory_bytes() <= psutil.virtual_memory().total


def test_load_is_that_of_the_last_minute() -> None:
    assert host.host_load() >= 0.0
