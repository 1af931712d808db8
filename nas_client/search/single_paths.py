"""A supernet trained for ranking: every pass is one network, and every operator is trained equally often.

A step trains the widest network, the narrowest and random ones (the sandwich rule). The first learns the labels, the others
its predictions as well. Of every row of α and γ, and of the alternatives, successive networks take each choice once before any
comes again.

Source: Yu & Huang, ICCV 2019 (sandwich rule, distillation in place); Chu et al., ICCV 2021 (strict fairness).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch.nn.utils import clip_grad_norm_

from models.spaces.base import SearchSpace
from models.spaces.variation import RowChoices
from models.supernets.base import Mixture
from nas_client.data.transforms import Batch
from nas_client.runs.processes import Processes
from nas_client.runs.stopping import require_finite
from nas_client.search.progress import RngKey, Stream
from nas_client.search.updates import Losses, SegmentationPass
from nas_client.train.losses import distillation


class FairPaths:
    """Networks of a space, numbered, of which the choices of every row come equally often.

    Args:
        space: whose networks.
        seed: they follow from it and their number.
    """

    def __init__(self, space: SearchSpace, seed: int) -> None:
        self._space, self._seed = space, seed
        self._alternatives = space.alternatives()
        counts = space.row_counts
        self._rows = (len(self._alternatives), *counts["alpha"], *counts["gamma"])
        self._alpha_rows = len(counts["alpha"])
        self._decks: dict[tuple[int, int], np.ndarray[tuple[int, int], np.dtype[np.int64]]] = {}

    def __call__(self, number: int, *, widths: int | None = None) -> RowChoices:
        """The network of that number, counted from 0; `widths` is the number of its widths, where that is another."""
        first_width, drawn = 1 + self._alpha_rows, number if widths is None else widths
        alternative, *rows = (
            self._card(row, choices, number if row < first_width else drawn) for row, choices in enumerate(self._rows)
        )
        label = self._alternatives[alternative]
        beta = self._space.random_paths(label, RngKey(self._seed, step=number).rng(Stream.PATHS))
        return RowChoices(tuple(rows[: self._alpha_rows]), beta, tuple(rows[self._alpha_rows :]), label)

    def of_width(self, number: int, *, widest: bool) -> RowChoices:
        """The same network with the widest, or the narrowest, connections everywhere."""
        gamma = tuple(count - 1 if widest else 0 for count in self._space.row_counts["gamma"])
        return replace(self(number), gamma=gamma)

    def _card(self, row: int, choices: int, number: int) -> int:
        """Every row has a deck with each of its choices once, shuffled anew when it is used up."""
        deck = choices, number // choices
        if deck not in self._decks:
            self._decks = {key: cards for key, cards in self._decks.items() if key[0] != choices}
            rng = RngKey(self._seed, phase=choices, step=deck[1]).rng(Stream.DECKS)
            self._decks[deck] = rng.random((len(self._rows), choices)).argsort(axis=1)
        return int(self._decks[deck][row, number % choices])


class SinglePathUpdate:
    """Steps of SGD on the supernet's weights, each by the losses of several networks.

    Args:
        passes: forward passes of the supernet.
        space: of the supernet.
        role: whose stem and head.
        random: networks of a step beside the widest and the narrowest.
        weight: of the divergence from the widest network.
        seed: the networks follow from it.
        processes: whose gradients are summed.
    """

    def __init__(
        self,
        passes: SegmentationPass,
        space: SearchSpace,
        role: str,
        *,
        random: int,
        weight: float,
        seed: int,
        processes: Processes,
    ) -> None:
        self._passes, self._space, self._role = passes, space, role
        self._random, self._weight, self._processes = random, weight, processes
        self._paths = FairPaths(space, seed)

    def networks(self, step: int) -> Sequence[RowChoices]:
        """Those of a step, counted from 0 over the phase: the widest, the narrowest, and random ones.

        Random ones alone count for widths: else those of the first two, which are not drawn, would be left out of the deck.
        """
        first, paths = step * (2 + self._random), self._paths
        edges = (paths.of_width(first, widest=True), paths.of_width(first + 1, widest=False))
        return (*edges, *(paths(first + 2 + index, widths=step * self._random + index) for index in range(self._random)))

    def __call__(self, batch: Batch, optimizer: torch.optim.Optimizer, clip_norm: float, where: str, *, step: int) -> Losses:
        """One step; the mean segmentation loss of one network, and the mean divergence from the widest.

        Raises:
            DivergenceError: a loss or the gradient is not finite; the weights are as before.
        """
        weights = list(self._passes.supernet.parameters())
        optimizer.zero_grad(set_to_none=True)
        size = (batch.labels.shape[1], batch.labels.shape[2])
        losses, divergences, widest = [], [], None
        for choices in self.networks(step):
            mixture = Mixture.single(choices, self._space.row_counts, batch.images.device)
            scores = self._passes.scores(batch.images, mixture, self._role, choices.alternative, size)
            loss = self._passes.segmentation(scores, batch.labels)
            losses.append(loss.detach())
            if widest is None:
                widest = scores.detach()
            elif self._weight:
                divergence = distillation(scores, widest, direction="teacher_student") / self._processes.share.ranks
                divergences.append(divergence.detach())
                loss = loss + self._weight * divergence
            loss.backward()
        self._processes.sum_gradients(weights)
        norm = clip_grad_norm_(weights, clip_norm, foreach=True)
        means = {f"weights_{self._role}": losses, "distillation": divergences}
        terms = {name: self._processes.sum(torch.stack(found).mean()) for name, found in means.items() if found}
        require_finite(where, **terms, **{f"gradient of weights_{self._role}": norm})
        optimizer.step()
        return {name: float(value) for name, value in terms.items()}
