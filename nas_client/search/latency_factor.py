"""λ, the factor of the latency in the student's loss: as configured, or moved from epoch to epoch until a target is met."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any, Literal, NamedTuple

from nas_client.search.config import SearchConfig
from nas_client.search.epochs import Decoded, SearchEpoch
from nas_client.search.objective import objective

DOMINATES, VANISHES = 1.0, 1e-3
"""Of `latency_ratio`: from the first on latency weighs as much as all of the segmentation loss, up to the second next to
nothing. With FasterSeg's table and λ it is 0.163 when the search begins, beside five cross-entropies of 2.9 at most."""


class LatencyFactor:
    """λ during a search.

    With a target (`latency.target_ms`) it is doubled after each epoch of the search whose network is slower than the band
    around the target, and halved where it is faster. The network is the one that the search would end in: that with the best
    objective, by the latest mIoU of the supernet. Before anything was evaluated, the mean over all is taken.

    Args:
        config: of the search.

    Attributes:
        value: λ of the next step.

    Source: FasterSeg's published code, which aims at frames a second.
    """

    def __init__(self, config: SearchConfig) -> None:
        self._settings = config.latency
        self._target_ms, self._exponent = config.target_ms, config.exponent
        self.value = config.latency.factor
        self._accuracies: dict[str, float] = {}

    def judge(self, networks: Sequence[Decoded], mean_iou: Mapping[str, float | None]) -> float | None:
        """The estimate by which λ is to be moved; None where it stays as configured.

        Args:
            networks: decoded after this epoch.
            mean_iou: of the supernet as each of them, by alternative; empty where it was not evaluated.
        """
        if self._settings.target_ms is None:
            return None
        known = {name: value for name, value in mean_iou.items() if value is not None}
        self._accuracies = known or self._accuracies
        evaluated = [network for network in networks if network.alternative in self._accuracies]
        if not evaluated:
            return fmean(network.estimate_ms for network in networks)
        return max(evaluated, key=self._objective).estimate_ms

    def follow(self, judged_ms: float) -> None:
        """Move λ after an epoch that ended with a network of that estimate."""
        settings = self._settings
        assert settings.target_ms is not None
        if judged_ms > settings.target_ms * (1 + settings.band):
            self.value *= 2
        elif judged_ms < settings.target_ms * (1 - settings.band):
            self.value /= 2

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"value": self.value, "accuracies": dict(self._accuracies)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """From a checkpoint."""
        self.value, self._accuracies = state["value"], dict(state["accuracies"])

    def _objective(self, network: Decoded) -> float:
        accuracy = self._accuracies[network.alternative]
        return objective(accuracy, network.estimate_ms, target_ms=self._target_ms, exponent=self._exponent)


class LatencyWarning(NamedTuple):
    """That latency counts for too much or too little in the student's loss.

    Attributes:
        what: which of the two.
        text: a sentence, with what to do.
    """

    what: Literal["dominates", "vanishes"]
    text: str


def latency_warning(record: SearchEpoch) -> LatencyWarning | None:
    """What to say of λ after that epoch; None where nothing is to be said."""
    ratio = record.latency_ratio
    if ratio is None or VANISHES < ratio < DOMINATES:
        return None
    said = f"λ = {record.latency_factor:g} times the latency is {ratio:.2g} times the segmentation loss"
    if ratio >= DOMINATES:
        return LatencyWarning("dominates", f"{said}: it decides nearly alone, and networks collapse; lower latency.factor")
    return LatencyWarning("vanishes", f"{said}: it decides next to nothing; raise latency.factor")
