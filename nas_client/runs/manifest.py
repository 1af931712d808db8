"""What a run's folder is: `run.json`, which a command writes when it begins the folder.

::

    {"kind": "search", "format": 1, "version": "0.1.0"}

Whoever reads a folder asks this file. Nothing is inferred from the other files there.
"""

from __future__ import annotations

import json
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal, get_args

from models.spec.base import Record
from models.spec.errors import InvalidSpecError
from nas_client.errors import RunFolderError

RUN = "run.json"
"""This file."""

CONFIG = "config.yaml"
"""The configuration of a search or training, every field stated."""

RESULT = "result.json"
"""How a search or training ended."""

FORMAT = 1
"""Raised whenever an earlier release would misread a run's folder."""

Kind = Literal[
    "search",
    "selection",
    "training",
    "evaluation",
    "validation",
    "collapse",
    "random",
    "methods",
    "references",
    "attention",
    "ablation",
]
"""What wrote the folder: a command, or, for those from `collapse` on, an experiment."""

MISSING_HINT = (
    "Name the folder that a command wrote. To a folder from before this file existed, add it by hand: "
    f'{{"kind": "search", "format": {FORMAT}, "version": "unknown"}}, with the kind that fits.'
)


class RunManifest(Record):
    """The content of `run.json`.

    Attributes:
        kind: what wrote the folder.
        format: of the folder's files, see `FORMAT`.
        version: of opclock, for people.
    """

    kind: Kind
    format: int
    version: str


def begin_run(folder: Path, kind: Kind) -> None:
    """Mark a folder as a run of that kind. The folder is made where it is absent; a folder that is marked so stays as it is.

    Raises:
        RunFolderError: it holds a run of another kind or format.
        OSError: it cannot be written.
    """
    if is_begun(folder):
        require_run(folder, kind)
        return
    folder.mkdir(parents=True, exist_ok=True)
    manifest = RunManifest(kind=kind, format=FORMAT, version=_version())
    (folder / RUN).write_text(manifest.model_dump_json() + "\n", encoding="utf-8")


def is_begun(folder: Path) -> bool:
    """Whether the folder says that it holds a run."""
    return (folder / RUN).exists()


def read_manifest(folder: Path) -> RunManifest:
    """What the folder says of itself.

    Raises:
        RunFolderError: there is no `run.json`, it is damaged, or it is of another format or an unknown kind.
    """
    path = folder / RUN
    if not path.exists():
        raise RunFolderError(f"{folder} holds no run: there is no {RUN}", hint=MISSING_HINT)
    try:
        data = json.loads(path.read_bytes())
    except ValueError as error:
        raise RunFolderError(f"{path}: not a JSON document: {error}", hint=MISSING_HINT) from error
    found = data.get("format") if isinstance(data, dict) else None
    if found != FORMAT:
        raise RunFolderError(
            f"{path}: a run folder of format {found}; this release reads format {FORMAT}",
            hint="Read it with the release that wrote it, or run the command again in a new folder.",
        )
    try:
        return RunManifest.parse(data, source=str(path))
    except InvalidSpecError as error:
        raise RunFolderError(error.message, hint=f"Known kinds: {', '.join(get_args(Kind))}.") from error


def require_run(folder: Path, kind: Kind) -> None:
    """Raises RunFolderError unless the folder holds a run of that kind; see `read_manifest`."""
    found = read_manifest(folder).kind
    if found != kind:
        raise RunFolderError(f"{folder} holds a run of kind {found}, not {kind}", hint="Name another folder.")


def _version() -> str:
    try:
        return version("opclock")
    except PackageNotFoundError:
        return "unknown"
