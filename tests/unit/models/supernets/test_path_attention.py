"""Path attention against the corrected equations written out, and what its running mean says of the choice of paths."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from models.spaces.registry import create_space
from models.spec.architectures import SpaceSpec
from models.supernets.base import Mixture
from models.supernets.dag import DagSupernet
from models.supernets.path_attention import MOMENTUM, PathAttentionCells, path_attention

SPACE = create_space(
    SpaceSpec(
        name="rspnet",
        input_size=(32, 32),
        classes=3,
        parameters={"layers": 1, "stack": 1, "base_width": 4, "stem_width": 4, "scales": 2},
    )
)


def written_out(maps: list[list[list[list[float]]]], temperature: float) -> list[float]:
    """p_i of S_ij^c, sum by sum. `maps[n][i][c]` is the list of a channel's pixels."""
    images, paths, channels = len(maps), len(maps[0]), len(maps[0][0])

    def cosine(a: list[float], b: list[float]) -> float:
        lengths = math.hypot(*a) * math.hypot(*b)
        return sum(x * y for x, y in zip(a, b, strict=True)) / lengths if lengths else 0.0

    p = [0.0] * paths
    for image in maps:
        for c in range(channels):
            for j in range(paths):
                scores = [math.exp(cosine(image[i][c], image[j][c]) / temperature) for i in range(paths)]
                for i in range(paths):
                    p[i] += scores[i] / sum(scores) / (images * channels * paths)
    return p


@pytest.mark.parametrize("temperature", [1.0, 0.2])
def test_it_is_the_corrected_equations(temperature: float) -> None:
    maps = torch.randn(2, 5, 3, 4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    maps[0, 1, 2] = 0  # a channel that a ReLU has closed
    found = path_attention(maps, temperature)
    expected = torch.tensor(written_out(maps.flatten(3).tolist(), temperature), dtype=torch.float64)
    torch.testing.assert_close(found, expected)
    assert float(found.sum()) == pytest.approx(1)
    assert float(found.max() - found.min()) > 1e-3, "as printed, the equations would make all paths equal"


def test_only_directions_count() -> None:
    maps = torch.randn(1, 5, 2, 4, 4)
    scaled = maps * torch.tensor([1.0, 1e-6, 3.0, 1e6, 0.5])[None, :, None, None, None]
    torch.testing.assert_close(path_attention(scaled), path_attention(maps))


def test_half_precision_does_not_overflow() -> None:
    """The product of two such maps over 32,768 pixels is 1e13: far beyond float16, and its exponential beyond all."""
    maps = 2e4 * (1 + 0.1 * torch.randn(1, 5, 2, 128, 256, generator=torch.Generator().manual_seed(0)))
    found = path_attention(maps.half())
    torch.testing.assert_close(found.double(), path_attention(maps.double()), rtol=1e-4, atol=1e-6)


def supernet() -> DagSupernet:
    torch.manual_seed(0)
    made = SPACE.supernet()
    assert isinstance(made, DagSupernet)
    return made


def mixture() -> Mixture:
    return Mixture(torch.full((3, 5), 0.2), torch.full((2, 3), 1 / 3), ())


def alone(_: Sequence[Tensor]) -> None:
    """Sums over one process."""


def test_training_passes_count_and_others_do_not() -> None:
    net, images = supernet(), torch.randn(2, 3, 32, 32)
    cells = net.cells
    assert isinstance(cells, PathAttentionCells)
    uniform = cells.path_mean.clone()
    with torch.no_grad():
        net(images, mixture(), role="network")
    net.eval()
    net(images, mixture(), role="network")
    net.merge_statistics(alone)
    assert torch.equal(cells.path_mean, uniform), "an evaluation is no training"
    net.train()
    net(images, mixture(), role="network")
    seen = cells.path_sum.clone()
    net.merge_statistics(alone)
    torch.testing.assert_close(cells.path_mean, (1 - MOMENTUM) * uniform + MOMENTUM * seen)
    assert not cells.path_sum.any()
    again = supernet()
    again.load_state_dict(net.state_dict())
    assert isinstance(again.cells, PathAttentionCells)
    assert torch.equal(again.cells.path_mean, cells.path_mean), "the mean is part of a checkpoint"


def test_where_logits_are_equal_the_best_two_paths_win() -> None:
    net = supernet()
    assert isinstance(net.cells, PathAttentionCells)
    net.cells.path_mean.copy_(torch.tensor([[0.5, 0.2, 0.3], [0.1, 0.5, 0.4]]))
    logits = net.path_logits()
    assert logits is not None
    # Pairs (0, 1), (0, 2), (1, 2) of the paths.
    assert logits.argmax(dim=1).tolist() == [1, 2]
    torch.testing.assert_close(logits.softmax(1)[0], torch.tensor([0.10, 0.15, 0.06]) / 0.31)
