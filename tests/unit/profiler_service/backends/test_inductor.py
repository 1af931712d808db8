"""What Inductor needs, and what it is asked; what it computes is tested with all backends."""

from __future__ import annotations

import os
import stat
import sysconfig
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed: pip install 'opclock[graphs]'")

import torch

from models.spec.graphs import GraphRequest
from models.spec.operators import OperatorSpec
from profiler_service.backends import inductor
from profiler_service.backends.backend_options import BackendOptions, InductorOptions
from profiler_service.backends.base import GraphArtifact, seeded_input
from profiler_service.backends.inductor import InductorBackend
from profiler_service.backends.registry import create_backend
from profiler_service.backends.torch_cpu import TorchBackend
from profiler_service.errors import BackendUnavailableError, BuildError

GRAPH = GraphArtifact(GraphRequest(subject=OperatorSpec(kind="conv3x3", in_channels=4, out_channels=4, height=6, width=6)))


def test_without_a_compiler_it_is_unavailable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BackendUnavailableError, match=r"needs a compiler, and there is no g\+\+ on the path") as caught:
        create_backend("inductor")
    assert "apt-get install g++" in caught.value.hint


def test_the_compiler_of_the_environment_is_the_one_that_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    compiler = tmp_path / "c++-of-mine"
    compiler.write_text("#!/bin/sh\necho my compiler 7\necho second line\n")
    compiler.chmod(compiler.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("CXX", str(compiler))
    monkeypatch.setattr(inductor, "has_headers", lambda: True)
    assert create_backend("inductor").target().options["toolchain"] == "my compiler 7"
    compiler.write_text("#!/bin/sh\nexit 1\n")
    with pytest.raises(BackendUnavailableError, match="c\\+\\+-of-mine cannot be run"):
        create_backend("inductor")


def test_without_pythons_headers_it_is_unavailable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CXX", "sh")
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    with pytest.raises(BackendUnavailableError, match="needs Python's headers") as caught:
        create_backend("inductor")
    assert "python3-dev" in caught.value.hint


def test_its_target_is_not_eager_torchs_and_autotuning_is_part_of_it() -> None:
    backend = _backend(InductorOptions())
    target = backend.target()
    assert (target.backend, target.options["mode"]) == ("inductor", "compiled")
    assert TorchBackend(BackendOptions()).target().options["mode"] == "eager"
    other = _backend(InductorOptions(max_autotune=True)).target()
    assert target.differences(other) == ["options.max_autotune: off here, on there"]


def test_a_compilation_that_fails_is_a_build_error_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = _backend(InductorOptions())

    def refuse(module: object, **options: object) -> object:
        def call(array: object) -> None:
            raise RuntimeError("backend='inductor' raised:\nCppCompileError: C++ compile error\n" + "g++ -O3 " * 1000)

        return call

    monkeypatch.setattr(torch, "compile", refuse)
    before = os.environ.get("TORCHINDUCTOR_CACHE_DIR")
    with pytest.raises(BuildError, match="CppCompileError") as caught:
        backend.build(GRAPH)
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 500
    assert os.environ.get("TORCHINDUCTOR_CACHE_DIR") == before


@pytest.mark.slow
@pytest.mark.parametrize("max_autotune", [False, True])
def test_what_it_compiled_is_kept_where_it_was_told(tmp_path: Path, max_autotune: bool) -> None:
    backend = _backend(InductorOptions(cache_dir=tmp_path, max_autotune=max_autotune))
    engine = backend.build(GRAPH)
    eager = TorchBackend(BackendOptions()).build(GRAPH)
    array = seeded_input(GRAPH.request)
    np.testing.assert_allclose(engine.infer(array), eager.infer(array), rtol=1e-4, atol=1e-5)
    engine.close()
    assert any(path.is_file() for path in (tmp_path / "inductor").rglob("*"))


def test_compiles_once_for_all_rounds_and_anew_when_asked_to(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = _backend(InductorOptions())
    compiled: list[object] = []

    def compile_(module: object, **options: object) -> object:
        compiled.append(module)
        return module

    monkeypatch.setattr(torch, "compile", compile_)
    for build, count in (
        (backend.build, 1),
        (backend.build, 1),
        (backend.rebuild, 2),
        (backend.rebuild, 3),
        (backend.build, 3),
    ):
        engine = build(GRAPH)
        engine.run()
        engine.close()
        assert len(compiled) == count


@pytest.mark.slow
def test_building_from_scratch_leaves_the_next_build_as_it_was(tmp_path: Path) -> None:
    backend = _backend(InductorOptions(cache_dir=tmp_path))
    skip = OperatorSpec(kind="skip", in_channels=4, out_channels=4, height=6, width=6, stride=2)
    for build, artifact in ((backend.rebuild, GRAPH), (backend.build, GraphArtifact(GraphRequest(subject=skip)))):
        engine = build(artifact)
        expected = TorchBackend(BackendOptions()).build(artifact).infer(seeded_input(artifact.request))
        np.testing.assert_allclose(engine.infer(seeded_input(artifact.request)), expected, rtol=1e-4, atol=1e-5)
        engine.close()


def _backend(options: InductorOptions) -> InductorBackend:
    try:
        return InductorBackend(options)
    except BackendUnavailableError as error:
        pytest.skip(f"{error.message}: {error.hint}")
