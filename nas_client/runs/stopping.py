"""How a run ends before its last step: cleanly, after SIGTERM or Ctrl-C; or with an error, when a loss is not a number."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Self

import torch
from torch import Tensor

from nas_client.errors import DivergenceError

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopRequest:
    """Remembers, while entered, that the process was asked to end. A second signal ends it at once.

    Only the main thread may set handlers; entered in another, it remembers nothing, and nothing changes.
    """

    def __init__(self) -> None:
        self.requested = False
        self._before: dict[signal.Signals, object] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._remember) for number in _SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def _remember(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]  # what signal.signal itself gave
        self._before = {}


def require_finite(step: str, **terms: Tensor) -> None:
    """Check scalars, with one look at the device for all of them.

    Args:
        step: where the run is, for the message, such as `search epoch 3, step 17`.
        terms: by the names under which the message speaks of them.

    Raises:
        DivergenceError: names the first term that is not finite.
    """
    values = torch.stack([term.detach().float() for term in terms.values()])
    if bool(values.isfinite().all()):
        return
    name, value = next((name, value) for name, value in zip(terms, values.tolist(), strict=True) if not abs(value) < torch.inf)
    raise DivergenceError(
        f"{step}: the loss {name!r} is {value}",
        hint="The last checkpoint is from before. Start in a new folder with a smaller learning rate, or in float32.",
    )
