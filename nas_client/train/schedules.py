"""Learning rates over a training. Pure: a step's factor follows from its number, so nothing needs to be saved."""

from __future__ import annotations


def poly_factor(step: int, steps: int, *, power: float = 0.9, warmup: int = 0) -> float:
    """What the base learning rate is multiplied by: (1 − step/steps)^power, after a linear warm-up.

    Made for `torch.optim.lr_scheduler.LambdaLR`, which also asks for the step after the last: there it is 0.

    Args:
        step: counted from 0.
        steps: of the whole training, those of the warm-up included.
        power: 0.9 is usual (Chen et al. 2017, DeepLab).
        warmup: steps over which the factor rises linearly to that of the decay.
    """
    decay: float = max(0.0, 1.0 - step / steps) ** power
    return decay * min(1.0, (step + 1) / (warmup + 1))
