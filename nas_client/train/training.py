"""One training, step by step: what `nas_client.train.run` starts, or resumes."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import torch

from nas_client.data.transforms import Batch
from nas_client.runs.checkpoints import Checkpoints
from nas_client.runs.journal import Journal
from nas_client.runs.processes import Processes
from nas_client.runs.stopping import StopRequest, require_finite
from nas_client.train.data import TrainingData, epoch_batches
from nas_client.train.folder import LAST, EpochRecord, Recipe, Trained, TrainResult
from nas_client.train.losses import objective
from nas_client.train.networks import TrainableNetwork
from nas_client.train.optimizers import optimizer_of
from nas_client.train.schedules import rate_factor
from nas_client.train.scoring import Scorer
from nas_client.train.weights import channels_last, lay_out, moving_average

Watch = Callable[[EpochRecord], None]
"""Receives the record of every epoch as it ends."""

_SUMMED = ("segmentation", "auxiliary", "distillation", "gradient_norm")


class Training:
    """The state of a training between two steps, and the way to the next.

    Args:
        recipe: what it follows from.
        network: with its first weights; trained in place.
        folder: for checkpoints and weights.
        data: images.
        processes: among which each batch is shared.
        teacher: whose predictions are learnt besides the labels.

    Attributes:
        epoch: how many are done.
    """

    def __init__(
        self,
        recipe: Recipe,
        network: TrainableNetwork,
        folder: Path,
        data: TrainingData,
        processes: Processes,
        teacher: Trained | None = None,
    ) -> None:
        self._recipe, self._config, self._data, self._processes = recipe, recipe.config, data, processes
        self._checkpoints = Checkpoints(folder)
        self._scorer = Scorer(recipe, folder, data, processes)
        self._device = processes.device
        processes.prepare(network)
        self._network = lay_out(network)
        self._parameters = list(network.parameters())
        averaging = self._config.averaging
        # With small networks a loop over the parameters takes a few per cent of a step.
        self._optimizer = optimizer_of(self._config.optimizer, self._parameters, foreach=True)
        self._average = None if averaging is None else moving_average(network.network, averaging)
        self._teacher = None if teacher is None else _frozen(teacher, self._config.crop_size, self._device)
        self._steps_per_epoch = len(data.train) // self._config.batch_size
        self.epoch = self._batch = 0
        self._sums = torch.zeros(len(_SUMMED), dtype=torch.float64)

    def run(self, journal: Journal, stop: StopRequest, watch: Watch | None) -> TrainResult:
        """Do the epochs that are not done yet; after a request to stop, only the step."""
        while self.epoch < self._config.epochs:
            began = time.monotonic()
            pinned = self._device.type == "cuda"
            for batch in epoch_batches(
                self._data, self._config, self.epoch, skip=self._batch, share=self._processes.share, pin_memory=pinned
            ):
                self._step(batch)
                if self._processes.any(stop.requested):
                    self._save()
                    return self.result()
            record = self._end_epoch(began)
            _write_record(record, journal)
            self._save()
            if watch is not None:
                watch(record)
        return self.result()

    def restore(self) -> None:
        """Go back to the last checkpoint; to the beginning where none was saved. Raises CheckpointError."""
        state = self._checkpoints.load(LAST, self._recipe)
        if state is None:
            return
        self._network.load_state_dict(state["network"])
        self._optimizer.load_state_dict(state["optimizer"])
        if self._average is not None:
            self._average.load_state_dict(state["average"])
        self._scorer.restore(state["judge"])
        self.epoch, self._batch, self._sums = state["epoch"], state["batch"], state["sums"]

    def result(self) -> TrainResult:
        """How far it is."""
        return TrainResult(
            architecture=self._recipe.architecture.key(),
            finished=self.epoch == self._config.epochs,
            epochs=self.epoch,
            steps=self._steps,
            best_epoch=self._scorer.best_epoch,
            best=self._scorer.best,
            final=self._scorer.latest,
        )

    def _save(self) -> None:
        if self._processes.is_main:
            state = {
                "network": self._network.state_dict(),
                "optimizer": self._optimizer.state_dict(),
                "average": None if self._average is None else self._average.state_dict(),
                "judge": self._scorer.state(),
                "epoch": self.epoch,
                "batch": self._batch,
                "sums": self._sums,
            }
            self._checkpoints.save(LAST, state, self._recipe)

    @property
    def _steps(self) -> int:
        """How many are done."""
        return self.epoch * self._steps_per_epoch + self._batch

    def _lr(self, step: int) -> float:
        optimizer, epochs = self._config.optimizer, self._config.epochs
        steps = epochs * self._steps_per_epoch
        return optimizer.lr * rate_factor(optimizer, step, steps, epochs=epochs, warmup=optimizer.warmup_steps)

    def _step(self, batch: Batch) -> None:
        config, processes = self._config, self._processes
        images, labels = (channels_last(tensor.to(self._device, non_blocking=True)) for tensor in batch)
        size = (labels.shape[1], labels.shape[2])
        self._network.train()
        with torch.autocast(self._device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
            scores = self._network(images, size)
            teacher = None if self._teacher is None else self._teacher(images, size).combined
        ranks = processes.share.ranks
        terms = objective(scores, labels, teacher, config.losses, gather=processes.gather, ranks=ranks)
        self._optimizer.zero_grad()
        terms.total.backward()
        processes.sum_gradients(self._parameters)
        named = terms.named()
        values = processes.sum(torch.stack([*named.values()]))
        norm = torch.nn.utils.get_total_norm([p.grad for p in self._parameters if p.grad is not None], foreach=True)
        where = f"training epoch {self.epoch + 1}, step {self._batch + 1}"
        require_finite(where, **dict(zip(named, values, strict=True)), gradient_norm=norm)
        if config.optimizer.clip_norm is not None:
            torch.nn.utils.clip_grads_with_norm_(self._parameters, config.optimizer.clip_norm, norm)
        for group in self._optimizer.param_groups:
            group["lr"] = self._lr(self._steps)
        self._optimizer.step()
        if self._average is not None:
            self._average.update_parameters(self._network.network)
        self._sums += torch.cat([values, norm[None]]).cpu()
        self._batch += 1

    def _end_epoch(self, began: float) -> EpochRecord:
        steps, lr = self._steps, self._lr(self._steps - 1)
        means = dict(zip(_SUMMED, (self._sums / self._steps_per_epoch).tolist(), strict=True))
        self.epoch, self._batch, self._sums = self.epoch + 1, 0, torch.zeros_like(self._sums)
        validates = self._scorer.validates_after(self.epoch)
        best = validates and self._scorer.score(self._network.network if self._average is None else self._average, self.epoch)
        return EpochRecord(
            epoch=self.epoch,
            steps=steps,
            lr=lr,
            loss=means["segmentation"] + means["auxiliary"] + means["distillation"],
            **means,
            validation=self._scorer.latest if validates else None,
            best=best,
            seconds=time.monotonic() - began,
        )


def _frozen(teacher: Trained, size: tuple[int, int], device: torch.device) -> TrainableNetwork:
    network = TrainableNetwork(teacher.architecture, size)
    network.network.load_state_dict(teacher.weights)
    return lay_out(network.to(device)).requires_grad_(False).eval()


def _write_record(record: EpochRecord, journal: Journal) -> None:
    journal.write(record)
    curves = {f"loss/{name}": getattr(record, name) for name in ("segmentation", "auxiliary", "distillation")}
    curves |= {"lr": record.lr, "gradient_norm": record.gradient_norm}
    if record.validation is not None and record.validation.mean_iou is not None:
        curves["validation/mean_iou"] = record.validation.mean_iou
    journal.scalars(record.steps, curves)
