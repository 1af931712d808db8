"""The learning rate as a function of the step, so that a resumed run needs no scheduler's state."""

from __future__ import annotations

import math

from models.spaces.search_defaults import Scheduled


def rate_factor(schedule: Scheduled, step: int, steps: int, *, epochs: int, warmup: int = 0) -> float:
    """What the base learning rate is multiplied by, as torch.optim.lr_scheduler has it: `PolynomialLR` and `CosineAnnealingLR`
    over the steps, `ExponentialLR` over the epochs.

    Args:
        schedule: which, and its parameter.
        step: counted from 0.
        steps: of the whole phase, those of the warm-up included.
        epochs: of the phase.
        warmup: steps over which the factor rises linearly to that of the schedule.
    """
    match schedule.schedule:
        case "poly":
            return poly_factor(step, steps, power=schedule.power, warmup=warmup)
        case "exponential":
            factor = schedule.decay ** (step * epochs // steps)
        case "cosine":
            factor = (1 + math.cos(math.pi * min(1.0, step / steps))) / 2
        case "constant":
            factor = 1.0
    return factor * min(1.0, (step + 1) / (warmup + 1))


def poly_factor(step: int, steps: int, *, power: float = 0.9, warmup: int = 0) -> float:
    """What the base learning rate is multiplied by: (1 − step/steps)^power, after a linear warm-up.

    Made for `torch.optim.lr_scheduler.LambdaLR`, which also asks for the step after the last: there it is 0.

    Args:
        step: counted from 0.
        steps: of the whole training, those of the warm-up included.
        power: 0.9 is common (Chen et al. 2017, DeepLab).
        warmup: steps over which the factor rises linearly to that of the decay.
    """
    decay: float = max(0.0, 1.0 - step / steps) ** power
    return decay * min(1.0, (step + 1) / (warmup + 1))
