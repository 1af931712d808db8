"""Which of a search's alternatives is taken: the trade of accuracy against latency."""

from __future__ import annotations

import math

from nas_client.errors import ParameterError

TARGET_MS = 8.3
"""T of the paper, for a GTX 1080 Ti at 1024×2048: 120 frames per second."""

EXPONENT = -0.07
"""w of the paper, as a constant; see `objective`."""


def objective(accuracy: float, latency_ms: float, *, target_ms: float = TARGET_MS, exponent: float = EXPONENT) -> float:
    """ACC·(LAT/T)^w: the network for which it is largest is chosen.

    The paper contradicts itself about w. Its equation 6 makes w 1 up to the target and 0 beyond: slower networks would be
    better up to the target, and latency would not count beyond. The sentence after it sets w to 0.07, one constant whose sign
    got lost: positive, it would prefer the slower of two equally accurate networks. What is meant is the soft constraint of the
    paper that it follows (MnasNet, Tan et al., 2019): w = −0.07 on both sides of the target. So is it here, and in the
    published code. One exponent makes T a mere factor, which never changes the order.

    Args:
        accuracy: of the network, such as its mIoU; per cent or fraction, as long as all that are compared use the same.
        latency_ms: of the network, estimated or measured.
        target_ms: T.
        exponent: w.

    Source: FasterSeg, equation 5 (Appendix B).

    Raises:
        ParameterError: an accuracy is negative, a latency or target is not positive, or something is not finite.
    """
    if not 0 <= accuracy < math.inf:
        raise ParameterError(f"accuracy {accuracy} is not a finite number from 0 on")
    for name, value in (("latency", latency_ms), ("target", target_ms)):
        if not 0 < value < math.inf:
            raise ParameterError(f"{name} {value} ms is not positive and finite")
    if not math.isfinite(exponent):
        raise ParameterError(f"exponent {exponent} is not finite", hint=f"FasterSeg uses {EXPONENT}.")
    return accuracy * math.pow(latency_ms / target_ms, exponent)
