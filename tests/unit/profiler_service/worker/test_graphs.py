"""Graph files by key."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from models.spec.architectures import ArchitectureSpec
from models.spec.graphs import GraphRequest
from models.spec.kinds import KINDS
from models.spec.operators import OperatorSpec
from profiler_service.errors import StorageError
from profiler_service.worker.graphs import GraphCache, missing_files
from tests.support.plugins import Environment, environment_fixture

__all__ = ["environment_fixture"]

REQUEST = GraphRequest(subject=OperatorSpec(kind="conv3x3", in_channels=8, out_channels=8, height=4, width=4))


def test_names_files_by_key_and_exporter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = GraphCache.open(tmp_path / "deep" / "cache")
    artifact = cache.artifact(REQUEST, reads_onnx=True)
    assert artifact.onnx_path is not None
    assert REQUEST.key() in artifact.onnx_path.name
    monkeypatch.setattr("models.spec.graphs.EXPORTER_VERSION", 999)
    assert cache.artifact(REQUEST, reads_onnx=True).onnx_path != artifact.onnx_path


def test_other_weights_of_networks_leave_keys_and_operators_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys name stored visits."""
    network = GraphRequest(subject=ArchitectureSpec(space="any", input_size=(8, 8), genotype={"operators": ["conv3x3"]}))
    before = [(request.key(), request.version()) for request in (REQUEST, network)]
    monkeypatch.setattr("models.spec.graphs.NETWORK_WEIGHTS_VERSION", 999)
    after = [(request.key(), request.version()) for request in (REQUEST, network)]
    assert before[0] == after[0]
    assert before[1][0] == after[1][0]
    assert before[1][1] != after[1][1]


KIND = "from models.spec.kinds import KindInfo\nKIND = KindInfo('conv1x1', builder='my_modules:conv1x1')\n"


def test_a_plugins_graphs_are_made_anew_for_another_version_or_another_module(tmp_path: Path, environment: Environment) -> None:
    """Else a table of the new module would have the old one's times."""
    found = []
    for version, module in (("1.0", "first = 1"), ("1.0", "second = 2"), ("1.1", "second = 2"), ("1.1", "second = 2")):
        modules = {"my_kinds": KIND, "my_modules": module}
        environment.install("my-kinds", version, modules, operators={"conv1x1": "my_kinds:KIND"})
        KINDS._digests.clear()  # each stands for a process of its own
        spec = OperatorSpec(kind="conv1x1", in_channels=8, out_channels=8, height=4, width=4)
        found.append(GraphCache.open(tmp_path).artifact(GraphRequest(subject=spec), reads_onnx=True).reference_path)
        environment.uninstall_all()
    assert len(set(found[:3])) == 3
    assert found[2] == found[3]
    assert "my_modules" not in sys.modules, "it may bring torch along"


def test_a_backend_that_reads_no_onnx_misses_none(tmp_path: Path) -> None:
    cache = GraphCache.open(tmp_path)
    artifact = cache.artifact(REQUEST, reads_onnx=False)
    assert missing_files(artifact) == [artifact.reference_path]
    assert artifact.reference_path is not None
    cache.write(artifact.reference_path, b"output")
    assert missing_files(artifact) == []
    assert missing_files(cache.artifact(REQUEST, reads_onnx=True)) == [artifact.reference_path.with_suffix(".onnx")]


def test_graphs_with_recurrences_step_by_step_are_others_of_the_same_network(tmp_path: Path) -> None:
    """A cache may serve backends on a CPU and on a GPU. What engines are compared with is the same."""
    scanned, unrolled = (GraphCache.open(tmp_path).artifact(REQUEST, reads_onnx=True, unrolled=each) for each in (False, True))
    assert scanned.onnx_path != unrolled.onnx_path
    assert scanned.reference_path == unrolled.reference_path


def test_leaves_nothing_behind_when_it_cannot_write(tmp_path: Path) -> None:
    cache = GraphCache.open(tmp_path)
    path = tmp_path / "graph.onnx"
    path.mkdir()  # a file cannot take a directory's place: stands for whatever the file system refuses at the end
    with pytest.raises(StorageError, match=r"cannot write .*graph\.onnx") as caught:
        cache.write(path, b"graph")
    assert "OPCLOCK_CACHE_DIR" in caught.value.hint
    assert list(tmp_path.iterdir()) == [path]


def test_a_directory_that_cannot_be_made_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot write"):
        GraphCache.open(tmp_path / "file" / "cache")
