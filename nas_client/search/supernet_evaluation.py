"""The supernet's mIoU as one mixture. Statistics of batch normalisation are computed for that mixture."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import nn

from models.supernets.base import Mixture
from nas_client.data.transforms import Batch
from nas_client.runs.processes import Processes
from nas_client.search.updates import SegmentationPass
from nas_client.train.predictions import ConfusionMatrix, SegmentationMetrics


@torch.no_grad()
def evaluate_supernet(
    passes: SegmentationPass,
    mixture: Mixture,
    role: str,
    *,
    statistics: Iterable[Batch],
    validation: Iterable[Batch],
    classes: int,
    processes: Processes,
) -> Mapping[str, SegmentationMetrics]:
    """Metrics by alternative; weights and the training's statistics stay as they are.

    Args:
        passes: forward passes of the supernet.
        mixture: what to evaluate.
        role: whose stem and head.
        statistics: batches of training images over which the statistics are taken.
        validation: this process's batches.
        classes: of the labels.
        processes: whose counts are added up.
    """
    matrices = {label: ConfusionMatrix(classes, device=processes.device) for label in passes.alternatives}
    with own_statistics(passes.supernet):
        for batch in statistics:
            passes.predict(batch.images.to(processes.device), mixture, role)
        passes.supernet.eval()
        for batch in validation:
            images, labels = (tensor.to(processes.device) for tensor in batch)
            for alternative, scores in passes.predict(images, mixture, role).combined.items():
                matrices[alternative].update(scores.argmax(dim=1), labels)
    for matrix in matrices.values():
        processes.sum_in_place([matrix.counts])
    return {alternative: matrix.metrics() for alternative, matrix in matrices.items()}


@contextmanager
def own_statistics(module: nn.Module) -> Iterator[None]:
    """While entered, batch normalisation averages over what it sees, from nothing; then its statistics are as before, and the
    module trains.
    """
    norms = [child for child in module.modules() if isinstance(child, nn.BatchNorm2d)]
    buffers = [(buffer, buffer.clone()) for norm in norms for buffer in norm.buffers()]
    momenta = [norm.momentum for norm in norms]
    module.train()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain average
    try:
        yield
    finally:
        for buffer, before in buffers:
            buffer.copy_(before)
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        module.train()
