"""The updates of a co-search, each of one role's weights or architecture parameters.

Gradients of weights never see the latency: mixtures for them are made without gradients to α, β, γ, and the gradients of an
architecture update are taken with respect to α, β, γ alone, which also spares the weights' part of the backward pass.

Source: FasterSeg, Appendix F. Losses of several widths and of several alternatives are summed, as in its published code.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Sequence

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from models.supernets.base import Mixture, Predictions, Supernet
from nas_client.data.transforms import Batch
from nas_client.latency.parameters import ArchitectureParameters
from nas_client.latency.relaxation import Gumbel
from nas_client.runs.processes import Processes
from nas_client.runs.stopping import require_finite
from nas_client.search.config import SearchConfig
from nas_client.search.latency_factor import LatencyFactor
from nas_client.search.latency_loss import LatencyLoss
from nas_client.search.progress import RngKey, Stream
from nas_client.search.relaxed_network import RelaxedNetwork
from nas_client.train.losses import segmentation_loss

Losses = dict[str, float]


class SegmentationPass:
    """One forward pass and its segmentation loss, over all alternatives.

    Args:
        supernet: whose pass.
        alternatives: what to predict.
        config: precision, kind of loss and hard pixels.
        processes: among which a batch is shared.

    Attributes:
        supernet, alternatives: as given.
    """

    def __init__(self, supernet: Supernet, alternatives: Sequence[str], config: SearchConfig, processes: Processes) -> None:
        self.supernet = supernet
        self.alternatives = tuple(alternatives)
        self._kind, self._hard = config.loss, config.hard_pixels
        self._mixed = config.precision == "bfloat16"
        self._processes = processes

    def predict(
        self,
        images: Tensor,
        mixture: Mixture,
        role: str,
        size: tuple[int, int] | None = None,
        *,
        alternatives: Collection[str] | None = None,
    ) -> Predictions:
        """Scores of every alternative, or of those named, at the images' size or another."""
        asked = self.alternatives if alternatives is None else alternatives
        with torch.autocast(images.device.type, dtype=torch.bfloat16, enabled=self._mixed):
            predictions: Predictions = self.supernet(images, mixture, role=role, alternatives=asked, size=size)
        return predictions

    def scores(
        self, images: Tensor, mixture: Mixture, role: str, alternative: str, size: tuple[int, int] | None = None
    ) -> Tensor:
        """Scores of one alternative alone. Shape: (N, classes, *size)."""
        return self.predict(images, mixture, role, size, alternatives=[alternative]).combined[alternative]

    def loss(self, batch: Batch, mixture: Mixture, role: str) -> Tensor:
        """This process's part of the loss, summed over alternatives; a scalar."""
        size = (batch.labels.shape[1], batch.labels.shape[2])
        combined = self.predict(batch.images, mixture, role, size).combined
        return torch.stack([self.segmentation(scores, batch.labels) for scores in combined.values()]).sum()

    def segmentation(self, scores: Tensor, labels: Tensor) -> Tensor:
        """This process's part of the segmentation loss of one prediction; a scalar. Shape: as of `segmentation_loss`."""
        return segmentation_loss(scores, labels, kind=self._kind, hard_pixels=self._hard, gather=self._processes.gather)


class WeightUpdate:
    """Steps on the supernet's weights.

    Args:
        passes: forward passes of the supernet.
        optimizer: of its weights.
        clip_norm: largest norm of the gradient.
        processes: whose gradients are summed.
    """

    def __init__(
        self, passes: SegmentationPass, optimizer: torch.optim.Optimizer, clip_norm: float, processes: Processes
    ) -> None:
        self._passes = passes
        self._optimizer = optimizer
        self._weights = list(passes.supernet.parameters())
        self._clip_norm = clip_norm
        self._processes = processes

    def __call__(self, batch: Batch, mixtures: Iterable[Mixture], role: str, where: str) -> Losses:
        """One step by the summed loss of those mixtures; the mean loss of one prediction.

        Raises:
            DivergenceError: a loss or the gradient is not finite; the weights are as before.
        """
        self._optimizer.zero_grad(set_to_none=True)
        parts = []
        for mixture in mixtures:
            loss = self._passes.loss(batch, mixture, role)
            loss.backward()  # at once: memory holds the activations of one pass only
            parts.append(loss.detach())
        self._processes.sum_gradients(self._weights)
        norm = clip_grad_norm_(self._weights, self._clip_norm, foreach=True)
        mean = self._processes.sum(torch.stack(parts).mean()) / len(self._passes.alternatives)
        name = f"weights_{role}"
        require_finite(where, **{name: mean, f"gradient of {name}": norm})
        self._optimizer.step()
        return {name: float(mean)}


class ArchitectureUpdate:
    """Steps on one role's architecture parameters.

    Args:
        passes: forward passes of the supernet.
        network: whose parameters.
        role: the network's.
        optimizer: of its parameters.
        latency: added to the loss; None for a role without one.
        factor: of the latency, λ, as it is at each step.
        temperature: τ of the sampled widths.
        processes: whose gradients are summed; every process computes the whole latency.
    """

    def __init__(
        self,
        passes: SegmentationPass,
        network: RelaxedNetwork,
        role: str,
        optimizer: torch.optim.Optimizer,
        *,
        latency: LatencyLoss | None,
        factor: LatencyFactor,
        temperature: float,
        processes: Processes,
    ) -> None:
        self._passes = passes
        self._network = network
        self._role = role
        self._optimizer = optimizer
        self._latency = latency
        self._factor = factor
        self._gumbel = Gumbel(temperature, torch.Generator(network.logits.alpha.device))
        self._processes = processes
        self.latency_s = 0.0
        """Time spent so far on the latency loss, forward and backward."""

    def __call__(self, batch: Batch, key: RngKey, where: str) -> Losses:
        """One step; the mean segmentation loss of one prediction, and the latency loss in ms.

        Raises:
            DivergenceError: a loss or a gradient is not finite; the parameters are as before.
        """
        gumbel = seeded(self._gumbel, key, Stream.GUMBEL)
        parameters = self._network.optimized
        loss = self._passes.loss(batch, self._network.for_architecture(gumbel), self._role)
        # where few heads are trained, no path between them may be left to choose: β is then unused
        gradients = list(torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True))
        self._processes.sum_in_place(gradients)
        name = f"architecture_{self._role}"
        terms = {name: self._processes.sum(loss) / len(self._passes.alternatives)}
        if self._latency is not None:
            terms["latency"], added = self._latency_gradients(self._latency, self._network.settled, key)
            gradients = [mine + self._factor.value * more for mine, more in zip(gradients, added, strict=True)]
        norm = torch.stack([gradient.norm() for gradient in gradients]).norm()
        require_finite(where, **terms, **{f"gradient of {name}": norm})
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        self._optimizer.step()
        return {term: float(value) for term, value in terms.items()}

    def _latency_gradients(
        self, latency: LatencyLoss, logits: ArchitectureParameters, key: RngKey
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        started = clock(logits.alpha.device)
        loss = latency(logits, key.seed_of(Stream.LATENCY))
        gradients = torch.autograd.grad(loss, self._network.optimized, allow_unused=True, materialize_grads=True)
        self.latency_s += clock(logits.alpha.device) - started
        return loss.detach(), gradients


def seeded(gumbel: Gumbel, key: RngKey, stream: Stream) -> Gumbel:
    """The sampler with the noise of that key."""
    assert gumbel.generator is not None
    gumbel.generator.manual_seed(key.seed_of(stream))
    return gumbel


def clock(device: torch.device) -> float:
    """Seconds, once the device has done what it was asked to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
