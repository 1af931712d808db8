"""What a network or a mixture is worth within a supernet: its mIoU, with statistics of batch normalisation of its own."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

import torch
from torch import nn

from models.spaces.base import SearchSpace
from models.spaces.variation import RowChoices
from models.supernets.base import Mixture
from nas_client.data.loading import evaluation_batches
from nas_client.data.transforms import Batch, EvaluationTransform
from nas_client.errors import DatasetError
from nas_client.search.setup import SearchData
from nas_client.search.updates import SegmentationPass
from nas_client.train.predictions import ConfusionMatrix


class SupernetScorer:
    """Evaluates one network or mixture after another within a supernet. Images are read once, and stay in memory.

    Args:
        passes: of the supernet, whose statistics are changed.
        space: of the supernet.
        role: whose stem and head.
        data: of the search.
        trained_on, selection: indices of training images: of statistics, and of evaluation.
    """

    def __init__(
        self,
        passes: SegmentationPass,
        space: SearchSpace,
        role: str,
        data: SearchData,
        trained_on: Sequence[int],
        selection: Sequence[int],
    ) -> None:
        self._passes, self._space, self._role, self._processes = passes, space, role, data.processes
        config, device, self._count = data.config, data.processes.device, len(selection)
        statistics = data.training(trained_on, epoch=0, batch_size=config.pretrain.batch_size, crop=config.pretrain.crop)
        images = evaluation_batches(
            data.train,
            EvaluationTransform(image_scale=config.image_scale),
            batch_size=config.evaluation.batch_size,
            indices=selection,
            share=data.processes.share,
            workers=config.workers,
        )
        self._statistics = [batch.images.to(device) for batch in islice(statistics, config.evaluation.statistics_batches)]
        self._images = [Batch(*(tensor.to(device) for tensor in batch)) for batch in images]
        self._norms = FreshStatistics(passes.supernet)

    def __call__(self, choices: RowChoices) -> float:
        """The network's mIoU. Raises DatasetError where no image has a label."""
        mixture = Mixture.single(choices, self._space.row_counts, self._processes.device)
        found = self.mean_ious(mixture, [choices.alternative])[choices.alternative]
        if found is None:
            raise DatasetError(
                f"none of the {self._count} images of selection has a labelled pixel", hint="Set selection.images to more."
            )
        return found

    @torch.no_grad()
    def mean_ious(self, mixture: Mixture, alternatives: Collection[str]) -> dict[str, float | None]:
        """The mIoU of a mixture as each of these alternatives; None where no image has a label."""
        device = self._processes.device
        with self._norms.taken():
            for images in self._statistics:  # nobody looks at these scores: they need no resizing to the images' size
                self._passes.predict(images, mixture, self._role, (1, 1), alternatives=alternatives)
        matrices = {label: ConfusionMatrix(self._space.spec.classes, device=device) for label in alternatives}
        for images, labels in self._images:
            found = self._passes.predict(images, mixture, self._role, alternatives=alternatives).combined
            for label, matrix in matrices.items():
                matrix.update(found[label].argmax(dim=1), labels)
        self._processes.sum_in_place([matrix.counts for matrix in matrices.values()])
        return {label: matrix.metrics().mean_iou for label, matrix in matrices.items()}


class FreshStatistics:
    """Batch normalisation of a module that is one network, then another.

    A supernet has thousands of normalisations, of which a network uses some dozens. Only those are reset.

    Args:
        module: put in evaluation mode, and left there.
    """

    def __init__(self, module: nn.Module) -> None:
        self._taking = False
        self._used: dict[nn.BatchNorm2d, None] = {}
        module.eval()
        for norm in module.modules():
            if isinstance(norm, nn.BatchNorm2d):
                norm.momentum = None  # the plain average over batches
                norm.register_forward_pre_hook(self._before)

    @contextmanager
    def taken(self) -> Iterator[None]:
        """While entered, every normalisation that is used averages over what it sees, from nothing."""
        self._used.clear()
        self._taking = True
        try:
            yield
        finally:
            self._taking = False
            for norm in self._used:
                norm.eval()

    def _before(self, norm: nn.Module, _: Any) -> None:
        assert isinstance(norm, nn.BatchNorm2d)
        if self._taking and norm not in self._used:
            norm.reset_running_stats()
            norm.train()
            self._used[norm] = None
