"""Which weights a training saves: those with the best mIoU so far, and the last."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

from torch import nn

from nas_client.runs.processes import Processes
from nas_client.train.data import TrainingData, epoch_batches
from nas_client.train.folder import BEST, FINAL, Recipe, save_weights
from nas_client.train.networks import TrainableNetwork
from nas_client.train.predictions import Predictor, SegmentationMetrics, confusion
from nas_client.train.weights import State, copy_of, recalibrate


class Scorer:
    """Validates the weights of a training, and saves the best and the last.

    Args:
        recipe: of the training.
        folder: of the training.
        data: images.
        processes: which share the validation images.

    Attributes:
        best_epoch: with the highest mIoU so far, the first of equals; None before the first validation.
        best, latest: the metrics of that epoch, and of the last one validated.
    """

    def __init__(self, recipe: Recipe, folder: Path, data: TrainingData, processes: Processes) -> None:
        self._recipe, self._config, self._folder = recipe, recipe.config, folder
        self._data, self._processes = data, processes
        self.best_epoch: int | None = None
        self.best: SegmentationMetrics | None = None
        self.latest: SegmentationMetrics | None = None

    def validates_after(self, epoch: int) -> bool:
        """Whether there is a validation after that many epochs."""
        return epoch % self._config.validation.every == 0 or self._ends(epoch)

    def score(self, network: nn.Module, epoch: int) -> bool:
        """Validate the weights of the network, or of a moving average, as they are after that many epochs.

        They are saved where they are the best so far, which is what this returns, and after the last epoch.
        """
        weights = self._weights(network)
        self.latest = self._validate(weights)
        best = self.best is None or _rank(self.latest) > _rank(self.best)
        if best:
            self.best_epoch, self.best = epoch, self.latest
        if self._processes.is_main:
            for name in [BEST] * best + [FINAL] * self._ends(epoch):
                save_weights(self._folder, name, weights, self._recipe)
        return best

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        metrics = {"best": self.best, "latest": self.latest}
        return {"best_epoch": self.best_epoch} | {
            name: None if found is None else found.model_dump(mode="json") for name, found in metrics.items()
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to what `state` gave."""
        self.best_epoch = state["best_epoch"]
        self.best, self.latest = (
            None if state[name] is None else SegmentationMetrics.parse(state[name]) for name in ("best", "latest")
        )

    def _ends(self, epoch: int) -> bool:
        return epoch == self._config.epochs

    def _weights(self, network: nn.Module) -> State:
        """A copy, recalibrated where that is configured: on whole batches, so that all processes get the same."""
        weights, batches, device = copy_of(network), self._config.validation.statistics_batches, self._processes.device
        if not batches:
            return weights
        recalibrated = TrainableNetwork(self._recipe.architecture, self._config.crop_size).network
        recalibrated.load_state_dict(weights)
        recalibrate(recalibrated.to(device), islice(epoch_batches(self._data, self._config, 0), batches), device)
        return copy_of(recalibrated)

    def _validate(self, weights: State) -> SegmentationMetrics:
        config, processes = self._config, self._processes
        matrix = confusion(
            Predictor(self._recipe.architecture, weights, processes.device),
            self._data.val,
            image_scale=config.image_scale,
            batch_size=config.validation.batch_size,
            workers=config.workers,
            share=processes.share,
        )
        matrix.counts = processes.sum(matrix.counts)
        return matrix.metrics()


def _rank(metrics: SegmentationMetrics) -> float:
    """mIoU; below all others where no class could be judged."""
    return -1.0 if metrics.mean_iou is None else metrics.mean_iou
