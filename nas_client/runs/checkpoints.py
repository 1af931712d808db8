"""A run's state on disk: written whole or not at all, and never continued under another configuration."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from models.spec.base import Record, differences
from models.spec.errors import SpecError
from nas_client.errors import CheckpointError

VERSION = 1
"""Raised whenever what a checkpoint holds would be misread by an earlier release."""


class Checkpoints:
    """The checkpoints of one run, by name, in `FOLDER/checkpoints`.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "checkpoints"

    def path(self, name: str) -> Path:
        """Where the checkpoint of that name lies, or would lie."""
        return self._folder / f"{name}.pt"

    def save(self, name: str, state: Mapping[str, Any], config: Record) -> None:
        """Replace the checkpoint of that name; until the new one is whole and on disk, the old one stays.

        Args:
            name: of the checkpoint.
            state: tensors, numbers, strings, and lists and dictionaries of these.
            config: of the run.

        Raises:
            OSError: the folder cannot be written.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        unfinished = self.path(name).with_suffix(".unfinished")
        with unfinished.open("wb") as file:
            torch.save({"version": VERSION, "config": config.model_dump(mode="json"), "state": dict(state)}, file)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(self.path(name))

    def load(self, name: str, config: Record) -> dict[str, Any] | None:
        """The state of that checkpoint, on the CPU; None where there is none.

        Raises:
            CheckpointError: the file is damaged or of another version, or was saved under another configuration: names the
                fields that differ.
        """
        path = self.path(name)
        if not path.exists():
            return None
        saved = _read(path)
        try:
            theirs = type(config).parse(saved["config"])
        except SpecError as error:
            raise CheckpointError(
                f"{path}: its configuration is not one of this release: {error.message}", hint="Start in a new folder."
            ) from error
        if lines := differences(config, theirs):
            raise CheckpointError(
                f"{path} was saved under another configuration: {'; '.join(lines)}",
                hint="Resume with what the run was started with, or start in a new folder. The configuration is in its "
                "config.yaml; a teacher or first weights have to be named again.",
            )
        state: dict[str, Any] = saved["state"]
        return state

    def read(self, name: str) -> dict[str, Any]:
        """The state of that checkpoint, whatever its configuration: to start another run from.

        Raises:
            CheckpointError: there is none, or it is damaged or of another version.
        """
        path = self.path(name)
        if not path.exists():
            raise CheckpointError(f"{path}: no such checkpoint", hint="Name the folder of a run that has saved one.")
        state: dict[str, Any] = _read(path)["state"]
        return state


def _read(path: Path) -> dict[str, Any]:
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, UnpicklingError, ValueError) as error:
        raise CheckpointError(f"{path}: not a whole checkpoint ({error})", hint="Remove it and start again.") from error
    if not isinstance(saved, dict) or saved.get("version") != VERSION:
        found = saved.get("version") if isinstance(saved, dict) else None
        raise CheckpointError(f"{path}: a checkpoint of version {found}, not {VERSION}", hint="Start in a new folder.")
    return saved
