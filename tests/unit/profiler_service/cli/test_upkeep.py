"""`backup`, `restore`, `cache prune`."""

from __future__ import annotations

from pathlib import Path

from models.spec.errors import ExitCode
from profiler_service.storage.store import Store
from tests.support import table_samples as samples
from tests.support.ended import Command


def test_a_backup_is_restored(command: Command, tmp_path: Path) -> None:
    path = tmp_path / "opclock.sqlite"
    with Store.open(path) as store:
        store.ensure_table(samples.info())
    written = command("backup", "copy.sqlite", "--json")
    assert written.code == 0
    assert (tmp_path / "copy.sqlite").exists()
    path.write_bytes(b"")
    restored = command("restore", "copy.sqlite")
    assert restored.code == 0
    assert "has 1 table now; the former database is" in restored.out
    with Store.open(path) as store:
        assert len(store.tables()) == 1


def test_a_backup_overwrites_nothing(command: Command, tmp_path: Path) -> None:
    (tmp_path / "copy.sqlite").touch()
    refused = command("backup", "copy.sqlite")
    assert refused.code == ExitCode.BAD_INPUT
    assert "exists already" in refused.err


def test_the_cache_is_pruned_to_a_size(command: Command, tmp_path: Path) -> None:
    cache = tmp_path / "opclock.sqlite.cache"
    cache.mkdir()
    for name in ("a-v1.onnx", "b-v1.onnx"):
        (cache / name).write_bytes(bytes(1_000_000))
    assert "2.0 MB stay" in command("cache", "prune").out
    assert "1 files with 1.0 MB deleted" in command("cache", "prune", "--max-bytes", 1_500_000).out
    assert '"left_bytes":0,' in command("cache", "prune", "--max-bytes", 0, "--json").out
