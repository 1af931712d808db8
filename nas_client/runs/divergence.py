"""Losses that are not numbers end a run before they reach a checkpoint."""

from __future__ import annotations

import torch
from torch import Tensor

from nas_client.errors import DivergenceError


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
        hint="What was saved before is kept. Start in a new folder with a smaller learning rate, or in float32.",
    )
