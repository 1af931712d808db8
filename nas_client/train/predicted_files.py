"""The files of predictions: a list of them lies beside them, so that nothing else is ever overwritten.

::

    OUTPUT/predicted.sha256    digest and path of every file that `predict` wrote there
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nas_client.data.folder import CLASSES
from nas_client.errors import DatasetError

LIST = "predicted.sha256"
_OTHER_FOLDER = "Choose another folder for the output."


class PredictedFiles:
    """What one or several predictions write into a folder.

    Args:
        output: the folder.
    """

    def __init__(self, output: Path) -> None:
        self._output, self._list = output, output / LIST
        lines = self._list.read_text(encoding="utf-8").splitlines() if self._list.is_file() else ()
        self._known = set(lines)

    def require_free(self, places: Iterable[Path], images: Iterable[Path], root: Path | None) -> None:
        """Look for what would be lost.

        Args:
            places: of the files to write, below the output.
            images: to predict.
            root: folder of the training's data set.

        Raises:
            DatasetError: the output is a data set, a file to write is an image to predict, or it is there already and not as
                an earlier prediction left it.
        """
        output = self._output.resolve()
        if (output / CLASSES).exists() or (root is not None and root.resolve() == output):
            raise DatasetError(f"{self._output} holds a data set, whose labels are not to be mixed", hint=_OTHER_FOLDER)
        given = {path.resolve() for path in images}
        for place in places:
            path = self._output / place
            if path.resolve() in given:
                raise DatasetError(f"{path} is an image to predict, and would be overwritten", hint=_OTHER_FOLDER)
            if path.exists() and self._line(place, path.read_bytes()) not in self._known:
                raise DatasetError(
                    f"{path} exists, and is not as predict wrote it", hint=f"{_OTHER_FOLDER} Or move this file elsewhere."
                )

    def save(self, place: Path, pixels: NDArray[np.uint8]) -> None:
        """Write a picture, whole or not at all, after its line in the list. Raises OSError."""
        buffer = BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        line = self._line(place, buffer.getvalue())
        path = self._output / place
        path.parent.mkdir(parents=True, exist_ok=True)
        if line not in self._known:
            with self._list.open("a", encoding="utf-8") as file:
                file.write(f"{line}\n")
            self._known.add(line)
        part = path.with_name(f"{path.name}.part")
        part.write_bytes(buffer.getvalue())
        part.replace(path)

    @staticmethod
    def _line(place: Path, content: bytes) -> str:
        return f"{hashlib.sha256(content).hexdigest()}  {place.as_posix()}"
