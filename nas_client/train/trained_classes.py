"""What the classes of a training meant when it began, so that nobody later reads its predictions by other names or ids."""

from __future__ import annotations

from pathlib import Path
from typing import Self

import numpy as np

from models.spec.base import Record
from nas_client.data.base import Labelling
from nas_client.data.classes import Colour
from nas_client.errors import TrainingError

CLASSES = "classes.json"
"""In the training's folder. Folders of earlier releases have none."""


class TrainedClasses(Record):
    """The content of `classes.json`, by class id.

    Attributes:
        names: of the classes.
        labels: how the data set's owner writes them: ids, or colours.
    """

    names: tuple[str, ...]
    labels: tuple[int | Colour, ...]

    @classmethod
    def of(cls, labelling: Labelling) -> Self:
        """Those of a data set as it is now."""
        ids = np.arange(len(labelling.classes), dtype=np.uint8)[None]
        labels = labelling.encode(ids)[0].tolist()
        return cls(names=labelling.classes.names, labels=tuple(tuple(it) if isinstance(it, list) else it for it in labels))

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """Those of a training; None where its folder does not say. Raises InvalidSpecError; OSError."""
        path = folder / CLASSES
        return cls.parse_json(path.read_bytes(), source=str(path)) if path.exists() else None

    def save(self, folder: Path) -> None:
        """Raises OSError."""
        (folder / CLASSES).write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")

    def require(self, now: Labelling, source: str) -> None:
        """Raises TrainingError unless the data set has the same classes still; names the first that differs."""
        found = TrainedClasses.of(now)
        if len(found.names) != len(self.names):
            raise self._changed(f"{len(self.names)} classes", f"{len(found.names)}", source)
        pairs = zip(zip(self.names, self.labels, strict=True), zip(found.names, found.labels, strict=True), strict=True)
        for index, (then, today) in enumerate(pairs):
            if then != today:
                raise self._changed(f"{_shown(then)} as class {index}", _shown(today), source)

    @staticmethod
    def _changed(then: str, today: str, source: str) -> TrainingError:
        return TrainingError(
            f"classes: the training began with {then}, data set {source} has {today} now",
            hint="Restore the data set's classes (classes.yaml of data set `folder`), or train anew.",
        )


def _shown(item: tuple[str, int | Colour]) -> str:
    return f"{item[0]!r} (label {item[1]})"
