"""Checkpoints survive a failed write, and are not taken for what they are not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from nas_client.errors import CheckpointError
from nas_client.runs.checkpoints import Checkpoints
from nas_client.search.config import SearchConfig

CONFIG = SearchConfig()


@pytest.fixture
def checkpoints(tmp_path: Path) -> Checkpoints:
    found = Checkpoints(tmp_path)
    found.save("last", {"tensor": torch.arange(3), "step": 7, "names": ["a"]}, CONFIG)
    return found


def test_what_is_saved_is_loaded(checkpoints: Checkpoints) -> None:
    state = checkpoints.load("last", CONFIG)
    assert state is not None
    assert state["step"] == 7
    assert state["names"] == ["a"]
    assert torch.equal(state["tensor"], torch.arange(3))


def test_there_may_be_none(checkpoints: Checkpoints) -> None:
    assert checkpoints.load("first", CONFIG) is None
    with pytest.raises(CheckpointError, match=r"first\.pt: no such checkpoint"):
        checkpoints.read("first")


def test_another_configuration_is_refused_with_what_differs(checkpoints: Checkpoints) -> None:
    other = CONFIG.model_copy(update={"seed": 4, "search": CONFIG.search.model_copy(update={"epochs": 3})})
    with pytest.raises(CheckpointError, match=r"search\.epochs: 3 here, 30 there; seed: 4 here, 0 there"):
        checkpoints.load("last", other)
    assert checkpoints.read("last")["step"] == 7


def test_a_failed_write_leaves_the_old_one(checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch) -> None:
    def half_a_file(saved: object, file: object) -> None:
        file.write(b"half")  # type: ignore[attr-defined]
        raise OSError("disk full")

    with monkeypatch.context() as patched:
        patched.setattr(torch, "save", half_a_file)
        with pytest.raises(OSError, match="disk full"):
            checkpoints.save("last", {"step": 8}, CONFIG)
    state = checkpoints.load("last", CONFIG)
    assert state is not None
    assert state["step"] == 7


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04cut"])
def test_a_damaged_file(checkpoints: Checkpoints, content: bytes) -> None:
    checkpoints.path("last").write_bytes(content)
    with pytest.raises(CheckpointError, match="not a whole checkpoint"):
        checkpoints.load("last", CONFIG)


def test_a_file_cut_short(checkpoints: Checkpoints) -> None:
    path = checkpoints.path("last")
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(CheckpointError, match="not a whole checkpoint"):
        checkpoints.load("last", CONFIG)


def test_another_version(checkpoints: Checkpoints) -> None:
    torch.save({"version": 99, "config": {}, "state": {}}, checkpoints.path("last"))
    with pytest.raises(CheckpointError, match="version 99, not 1"):
        checkpoints.load("last", CONFIG)


def test_code_in_a_file_does_not_run(checkpoints: Checkpoints, tmp_path: Path) -> None:
    class Harmful:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (tmp_path / "touched",))

    torch.save({"version": 1, "config": {}, "state": Harmful()}, checkpoints.path("last"))
    with pytest.raises(CheckpointError):
        checkpoints.read("last")
    assert not (tmp_path / "touched").exists()
