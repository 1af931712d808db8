"""Batch normalisation folded into the convolution before it, as inference runtimes do."""

from __future__ import annotations

import torch
from torch import Tensor, fx, nn


@torch.no_grad()
def folded(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Weight and bias of the one convolution that does what the two layers do in evaluation mode.

    Shape: (out_channels, in_channels / groups, K, K) and (out_channels,).
    """
    mean, variance = norm.running_mean, norm.running_var
    if mean is None or variance is None:
        raise TypeError("batch normalisation without running statistics cannot be folded")
    scale = norm.weight / torch.sqrt(variance + norm.eps)
    bias = norm.bias - mean * scale
    if conv.bias is not None:
        bias = bias + conv.bias * scale
    return conv.weight * scale[:, None, None, None], bias


def foldable(graph: fx.Graph, layers: dict[str, nn.Module]) -> dict[fx.Node, fx.Node]:
    """Each convolution whose only reader is a batch normalisation, to that reader."""
    pairs = {}
    for node in graph.nodes:
        if node.op == "call_module" and isinstance(layers[node.target], nn.BatchNorm2d):
            source = node.args[0]
            if source.op == "call_module" and isinstance(layers[source.target], nn.Conv2d) and len(source.users) == 1:
                pairs[source] = node
    return pairs
