"""The cache of graphs stays within its limit, and running jobs keep what they need."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from profiler_service.worker.graphs import GraphCache
from profiler_service.worker.pruning import InUse, Pruned, prune


@pytest.fixture
def cache(tmp_path: Path) -> GraphCache:
    """Four files of 100 bytes, `a` the one used longest ago."""
    cache = GraphCache.open(tmp_path / "cache")
    for age, name in enumerate(("d-v1.npy", "c-v1.onnx", "b-v1.npy", "a-v1.onnx")):
        graph = cache.directory / name
        graph.write_bytes(bytes(100))
        os.utime(graph, (1e9 - age, 1e9 - age))
    return cache


def names(cache: GraphCache) -> list[str]:
    return sorted(path.name for path in cache.directory.iterdir() if not path.name.startswith("."))


def test_what_was_used_least_recently_goes_first(cache: GraphCache) -> None:
    assert prune(cache.directory, 250) == Pruned(files=2, freed_bytes=200, left_bytes=200, needed_bytes=0)
    assert names(cache) == ["c-v1.onnx", "d-v1.npy"]
    assert prune(cache.directory, 250) == Pruned(files=0, freed_bytes=0, left_bytes=200, needed_bytes=0)


def test_what_a_job_needs_stays_and_counts_as_used(cache: GraphCache) -> None:
    job = InUse(cache)
    job.add([cache.directory / "a-v1.onnx", cache.directory / "not-there-yet-v1.npy"])
    assert prune(cache.directory, 0) == Pruned(files=3, freed_bytes=300, left_bytes=100, needed_bytes=100)
    assert names(cache) == ["a-v1.onnx"]
    assert (cache.directory / "a-v1.onnx").stat().st_mtime > 1e9
    job.close()
    job.close()
    assert prune(cache.directory, 0).left_bytes == 0


def test_checks_that_passed_go_as_graphs_do(cache: GraphCache) -> None:
    for name in ("a-v1", "d-v1"):
        (cache.directory / f"{name}.0123456789abcdef.check").write_bytes(bytes(50))
    job = InUse(cache)
    job.add([cache.directory / "a-v1.onnx"])
    assert prune(cache.directory, 0) == Pruned(files=4, freed_bytes=350, left_bytes=150, needed_bytes=150)
    assert names(cache) == ["a-v1.0123456789abcdef.check", "a-v1.onnx"]
    job.close()


def test_all_forms_of_a_graph_stay_where_a_job_needs_one(cache: GraphCache) -> None:
    """The output and the report that engines of an unrolled graph are checked by are named without that form."""
    for name in ("b-v1.unrolled.onnx", "b-v1.0123456789abcdef.check"):
        (cache.directory / name).write_bytes(bytes(50))
    job = InUse(cache)
    job.add([cache.directory / "b-v1.unrolled.onnx"])
    assert prune(cache.directory, 0) == Pruned(files=3, freed_bytes=300, left_bytes=200, needed_bytes=200)
    assert names(cache) == ["b-v1.0123456789abcdef.check", "b-v1.npy", "b-v1.unrolled.onnx"]
    job.close()


def test_what_a_job_discards_stays_while_another_job_needs_its_graph(cache: GraphCache) -> None:
    job, other = InUse(cache), InUse(cache)
    path = cache.directory / "b-v1.npy"
    job.add([path])
    other.add([cache.directory / "b-v1.unrolled.onnx"])
    job.discard(path)
    assert path.exists()
    other.close()
    job.discard(path)
    job.discard(path)
    assert names(cache) == ["a-v1.onnx", "c-v1.onnx", "d-v1.npy"]
    job.close()


def test_a_job_of_another_process_keeps_its_graphs_until_that_is_killed(cache: GraphCache) -> None:
    script = """
        import sys, time
        from pathlib import Path
        from profiler_service.worker.graphs import GraphCache
        from profiler_service.worker.pruning import InUse
        cache = GraphCache(Path(sys.argv[1]))
        job = InUse(cache)
        job.add([cache.directory / "b-v1.npy"])
        print("noted", flush=True)
        time.sleep(600)
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(cache.directory)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "noted\n"
        prune(cache.directory, 0)
        assert names(cache) == ["b-v1.npy"]
        process.kill()
    prune(cache.directory, 0)
    assert names(cache) == []
    assert not list(cache.directory.glob(".in-use-*"))


def test_other_files_stay_and_leftovers_go(cache: GraphCache) -> None:
    (cache.directory / "timing.cache").write_bytes(bytes(10))
    stale, fresh = (cache.directory / f".{name}-v1.onnx.123" for name in ("stale", "fresh"))
    for path in (stale, fresh):
        path.touch()
    yesterday = time.time() - 2 * 86_400
    os.utime(stale, (yesterday, yesterday))
    prune(cache.directory, 0)
    assert names(cache) == ["timing.cache"]
    assert fresh.exists()
    assert not stale.exists()


def test_a_cache_that_was_never_made_is_empty(tmp_path: Path) -> None:
    assert prune(tmp_path / "absent", 0).left_bytes == 0
