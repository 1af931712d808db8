"""Supernets of branches at several resolutions that part from one stem and meet in one head."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import reduce
from itertools import combinations as subsets
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.networks.structure import LatencyGraph
from models.operators.layers import build_operator
from models.spec.errors import InvalidSpecError
from models.supernets.base import Mixture, Predictions, Supernet
from models.supernets.cells import ENTRY, Cells, edge_probabilities, leading_edges
from models.supernets.head import Head, label_of, resize
from models.supernets.mixed_operators import MixedOperator, SuperOperator


class MultiResolutionSupernet(Supernet):
    """A stem and a head for each role, and between them cells over weights that the roles share.

    A branch's last map at a scale, which the head takes, is the input of the cell that leaves the scale. Where that is depends
    on β, so the supernet takes its expectation. Narrower maps are filled up with zeros, which add nothing to the sum that the
    head's superkernel computes.

    Shape: images (N, 3, H, W); predictions (N, classes, H, W). Coarser maps round up, and resizes go to the finer map's size.

    Args:
        graphs: each role's, of the same nodes and edges, with one output per scale. Edges keep their scale at stride 1 and
            double it at stride 2.
        scales: downsample rates, from that of the stem's map on, each twice the last.
        classes: of the predictions.
        branches: how many branches to combine: heads are made for every set of that size, and for single branches. Their labels
            are the alternatives.

    Source: FasterSeg §3.1 and Appendix A; heads and stems per role as in its published code.
    """

    def __init__(
        self, graphs: Mapping[str, LatencyGraph], *, scales: Sequence[int], classes: int, branches: Collection[int] = (1, 2)
    ) -> None:
        super().__init__()
        self.roles = tuple(graphs)
        self.scales = tuple(scales)
        chosen = [ends for count in sorted(branches) for ends in subsets(self.scales, count)]
        self.branches = {label_of(ends): ends for ends in chosen}
        self.alternatives = tuple(self.branches)
        self.graphs = dict(graphs)
        self.positions = positions(self.graphs[self.roles[0]], self.scales)
        outputs = self.graphs[self.roles[0]].outputs or ()
        self.ends = {self.positions[node][1]: node for node in outputs}
        self.stems = nn.ModuleDict(
            {role: nn.Sequential(*map(build_operator, graph.fixed)) for role, graph in self.graphs.items()}
        )
        self.cells = Cells(self.graphs)
        self.heads = nn.ModuleDict({role: self._head(graph, classes) for role, graph in self.graphs.items()})

    def _head(self, graph: LatencyGraph, classes: int) -> Head:
        channels = {scale: graph.nodes[self.ends[scale]].channels[0] for scale in self.scales}
        skipped: dict[int, set[int]] = {scale: set() for scale in self.scales[:-1]}
        for index, scale in self._leaving(graph).items():
            skipped[scale].update(graph.nodes[graph.edges[index].source].channels)
        widths = {scale: sorted(found) for scale, found in skipped.items()}
        return Head(channels, widths, list(self.branches.values()), classes)

    def _leaving(self, graph: LatencyGraph) -> dict[int, int]:
        """The edges that leave a scale, with the scale."""
        scales = {node: scale for node, (_, scale) in self.positions.items()}
        return {i: scales[e.source] for i, e in enumerate(graph.edges) if scales[e.source] != scales[e.destination]}

    def forward(
        self,
        images: Tensor,
        mixture: Mixture,
        *,
        role: str,
        alternatives: Collection[str] | None = None,
        auxiliary: bool = False,
        size: tuple[int, int] | None = None,
    ) -> Predictions:
        asked = {label: self.branches[label] for label in (self.alternatives if alternatives is None else alternatives)}
        ends = sorted({scale for branches in asked.values() for scale in branches})
        graph, head = self.graphs[role], self.head(role)
        maps = self.cells(self.stems[role](images), mixture, role, [self.ends[scale] for scale in ends])
        finest = {
            scale: head.way_back(scale)(maps[self.ends[scale]], self._last_maps(graph, scale, maps, mixture)) for scale in ends
        }
        size = size or (images.shape[2], images.shape[3])
        return Predictions(
            {
                label: resize(head.classify(label, [finest[scale] for scale in branches]), size)
                for label, branches in asked.items()
            },
            {
                scale: resize(head.auxiliary[str(scale)](maps[self.ends[scale]]), size)
                for scale in ends
                if auxiliary and scale != self.scales[0]
            },
        )

    def cell(self, layer: int, scale: int, stride: int) -> MixedOperator:
        """The mixed operator that leaves that position with that stride.

        Raises:
            InvalidSpecError: there is none.
        """
        for edge, mixed in zip(self.graphs[self.roles[0]].edges, self.cells.mixed, strict=True):
            if self.positions[edge.source] == (layer, scale) and self.positions[edge.destination][1] == scale * stride:
                assert isinstance(mixed, MixedOperator)
                return mixed
        raise InvalidSpecError(f"no cell at layer {layer} and scale {scale} has stride {stride}")

    def branch_end(self, scale: int) -> list[SuperOperator]:
        """What follows the last cell of the branch that ends at that scale, in order."""
        node = str(self.ends[scale])
        following = cast("nn.ModuleDict", self.cells.own[node]).values() if node in self.cells.own else ()
        return [cast("SuperOperator", cast("MixedOperator", mixed).choices[0]) for mixed in following]

    def head(self, role: str) -> Head:
        """That role's head."""
        head = self.heads[role]
        assert isinstance(head, Head)
        return head

    def _last_maps(self, graph: LatencyGraph, end: int, maps: Mapping[int, Tensor], mixture: Mixture) -> dict[int, Tensor]:
        """The expected last map of one branch at each scale that it leaves. Shape: (N, widest of them, H, W)."""
        if mixture.chosen is not None:
            leading = leading_edges(graph, [self.ends[end]], mixture)
            leaving = self._leaving(graph)
            return {leaving[index]: maps[graph.edges[index].source] for index in leading if index in leaving}
        found: dict[int, list[tuple[Tensor, Tensor]]] = {}
        probabilities = edge_probabilities(graph, self.ends[end], mixture.beta)
        for index, scale in self._leaving(graph).items():
            if index in probabilities:
                found.setdefault(scale, []).append((probabilities[index], maps[graph.edges[index].source]))
        return {scale: _blend(weighted) for scale, weighted in found.items()}


def _blend(weighted: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """The sum of weighted maps of different width, the narrower ones filled up with zero channels."""
    widest = max(x.shape[1] for _, x in weighted)
    return reduce(torch.add, (_filled(weight * x, widest) for weight, x in weighted))


def _filled(x: Tensor, channels: int) -> Tensor:
    missing = channels - x.shape[1]
    return functional.pad(x, (0, 0, 0, 0, 0, missing)) if missing else x


def positions(graph: LatencyGraph, scales: Sequence[int]) -> dict[int, tuple[int, int]]:
    """Layer and scale of every node.

    Raises:
        InvalidSpecError: an edge leads from the coarsest scale to a coarser one, or a scale has not exactly one output.
    """
    found = {ENTRY: (0, scales[0])}
    for edge in graph.edges:
        layer, scale = found[edge.source]
        found[edge.destination] = (layer + 1, scale * edge.operators[0][0][0].stride)
    ends = sorted(found[node][1] for node in graph.outputs or ())
    if ends != list(scales) or not {scale for _, scale in found.values()} <= set(scales):
        raise InvalidSpecError(f"scales {', '.join(map(str, scales))}: the branches end at {', '.join(map(str, ends))}")
    return found
