"""A step of FasterSeg's search the way its published code makes it: the slow side of the benchmark.

- A cell that two maps enter runs all its operators on each of them, and β weighs what comes out. (Ours weighs the maps, and
  runs the operators once, as the paper's equations have it.)
- A pass predicts from five heads, at 1/8. Losses of four passes are added up, and the gradients of their sum reach weights and
  α, β, γ alike.
- A step of pre-training has the widest, the narrowest and two random widths, all through the teacher's stem and head.
- A step of the search has four passes for α, β, γ, and then four for the weights: the teacher's, the student's with sampled
  widths, the widest and the narrowest. What is not updated then has gradients for nothing.

It is plain and fair. Widths are drawn for a scale at once, and are arguments (the published code draws them one by one, and
sets them on every module); factors are multiplied as scalars before they meet a map; optimisers step over all tensors at once;
hard pixels are ours; a skip is one convolution; the latency is that of `published_way`; nothing is asserted or logged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import clip_grad_norm_

from models.spaces.fasterseg.parameters import STUDENT, TEACHER, FasterSegParameters
from models.spaces.fasterseg.space import FasterSegSpace
from models.spec.operators import OperatorSpec
from nas_client.data.transforms import Batch
from nas_client.latency.relaxation import Gumbel
from nas_client.latency.sensitivity import PUBLISHED_WEIGHTS
from nas_client.train.losses import hard_pixel_cross_entropy
from tests.benchmarks.published_way import KINDS, SCALES, PublishedWay, sampled

LATENCY_FACTOR = 0.01
FINEST, COARSEST = 0, len(SCALES) - 1


class Convolution(nn.Module):
    """One kernel for all widths; narrower ones take its leading channels."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.stride, self.padding = stride, kernel // 2
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, kernel, kernel))
        nn.init.kaiming_normal_(self.weight, nonlinearity="relu")

    def forward(self, x: Tensor, out_channels: int) -> Tensor:
        return functional.conv2d(x, self.weight[:out_channels, : x.shape[1]], stride=self.stride, padding=self.padding)


class Norms(nn.Module):
    """Batch normalisation, one for each width."""

    def __init__(self, widths: Iterable[int]) -> None:
        super().__init__()
        self.norms = nn.ModuleDict({str(width): nn.BatchNorm2d(width) for width in widths})

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norms[str(x.shape[1])](x)
        return y


class Operator(nn.Module):
    """One choice of a cell."""

    def __init__(self, kind: str, in_channels: int, widths: Sequence[int], stride: int) -> None:
        super().__init__()
        self.zoomed, self.twice, self.enlarges = kind.startswith("zoomed"), kind.endswith("_x2"), stride == 1
        kernel = 1 if kind == "skip" else 3
        self.conv1 = Convolution(in_channels, widths[-1], kernel, 1 if self.zoomed else stride)
        self.bn1 = Norms(widths)
        if self.twice:
            self.conv2, self.bn2 = Convolution(widths[-1], widths[-1], kernel), Norms(widths)

    def forward(self, x: Tensor, out_channels: int) -> Tensor:
        height, width = x.shape[2:]
        if self.zoomed:
            x = functional.interpolate(x, (height // 2, width // 2), mode="bilinear", align_corners=True)
        y: Tensor = self.bn1(self.conv1(x, out_channels))
        if self.twice:
            y = self.bn2(self.conv2(functional.relu(y, inplace=True), out_channels))
        if self.zoomed and self.enlarges:
            y = functional.interpolate(y, (height, width), mode="bilinear", align_corners=True)
        return functional.relu(y, inplace=True)


class Mixed(nn.Module):
    """All choices of a cell at one stride, weighted and summed."""

    def __init__(self, in_channels: int, widths: Sequence[int], stride: int) -> None:
        super().__init__()
        self.choices = nn.ModuleList(Operator(kind, in_channels, widths, stride) for kind in KINDS)

    def forward(self, x: Tensor, factors: Sequence[Tensor], out_channels: int) -> Tensor:
        total: Tensor | float = 0.0
        for factor, choice in zip(factors, self.choices, strict=True):
            total = total + factor * choice(x, out_channels)
        assert isinstance(total, Tensor)
        return total


def conv_norm(in_channels: int, out_channels: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """Convolution, batch normalisation, ReLU."""
    convolution = nn.Conv2d(in_channels, out_channels, kernel, stride, padding=kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True))


class Ends(nn.Module):
    """A role's stem, and its way from the ends of the branches to five predictions at 1/8."""

    def __init__(self, parameters: FasterSegParameters, stem_width: int, head_width: int, classes: int) -> None:
        super().__init__()
        half, eighth = parameters.channels(4, stem_width), parameters.channels(8, stem_width)
        self.stem = nn.Sequential(
            conv_norm(3, half, stride=2),
            *(conv_norm(half, eighth, stride=2), conv_norm(eighth, eighth)),
            *(conv_norm(eighth, eighth, stride=2), conv_norm(eighth, eighth)),
        )
        fine, middle, coarse = (parameters.channels(scale, head_width) for scale in SCALES)
        self.refine16 = nn.ModuleList([conv_norm(middle, fine, 1), conv_norm(2 * fine, fine)])
        self.refine32 = nn.ModuleList(
            [conv_norm(coarse, middle, 1), conv_norm(2 * middle, middle), conv_norm(middle, fine, 1), conv_norm(2 * fine, fine)]
        )
        joined = (fine, fine, fine, 2 * fine, 2 * fine)
        self.heads = nn.ModuleList(nn.Sequential(conv_norm(c, c), nn.Conv2d(c, classes, 1)) for c in joined)

    def predictions(self, ends: Sequence[Tensor]) -> list[Tensor]:
        fine, middle, coarse = ends
        from_middle = self.refined(self.refine16, middle, fine)
        to_middle = self.refined(self.refine32[:2], coarse, middle)
        from_coarse = self.refined(self.refine32[2:], to_middle, fine)
        pairs = [torch.cat([fine, from_coarse], dim=1), torch.cat([from_middle, from_coarse], dim=1)]
        return [head(x) for head, x in zip(self.heads, [fine, from_middle, from_coarse, *pairs], strict=True)]

    def refined(self, layers: Iterable[nn.Module], x: Tensor, finer: Tensor) -> Tensor:
        reduce, refine = layers
        larger = functional.interpolate(reduce(x), scale_factor=2, mode="bilinear", align_corners=True)
        y: Tensor = refine(torch.cat([larger, finer], dim=1))
        return y


class Logits(nn.Module):
    """α, β and γ of a role, a tensor for each scale."""

    def __init__(self, layers: int, widths: int) -> None:
        super().__init__()

        def rows(counts: Sequence[int], choices: int) -> nn.ParameterList:
            return nn.ParameterList(1e-3 * torch.randn(count, choices) for count in counts)

        self.alpha = rows((layers, layers - 1, layers - 2), len(KINDS))
        self.beta = rows((layers - 2, layers - 3), 2)
        self.gamma = rows((layers - 1, layers - 1, layers - 2), widths)


@dataclass(frozen=True)
class Drawn:
    """Widths of a pass: by scale, an index for each row of γ, and where they are sampled, the rows' scores."""

    indices: Sequence[Sequence[int]]
    scores: Sequence[Tensor] | None = None


class PublishedSupernet(nn.Module):
    """Cells that both roles share, and a stem and heads for each."""

    def __init__(self, space: FasterSegSpace) -> None:
        super().__init__()
        parameters = self.of = space.parameters
        widest = parameters.widths[-1]
        self.outer = {TEACHER: (widest, widest), STUDENT: (parameters.stem_width, parameters.head_width)}
        self.ends = nn.ModuleDict({role: Ends(parameters, *both, space.spec.classes) for role, both in self.outer.items()})
        self.keep, self.down = nn.ModuleList(), nn.ModuleList()
        for layer in range(parameters.layers):
            finer = range(min(layer, COARSEST) + 1)
            self.keep.append(nn.ModuleList(self.mixed(layer, j, j) for j in finer))
            last = layer == parameters.layers - 1
            self.down.append(nn.ModuleList(self.mixed(layer, j, j + 1) for j in finer if j < COARSEST and not last))

    def mixed(self, layer: int, source: int, destination: int) -> Mixed:
        entering, leaving = self.channels(layer, source), self.channels(layer + 1, destination)
        return Mixed(entering[-1], leaving, 1 + destination - source)

    def channels(self, layer: int, j: int) -> list[int]:
        """That the map entering cell (layer, j) may have."""
        side = 0 if layer == 0 else 1 if layer == self.of.layers else None
        widths = self.of.widths if side is None else {both[side] for both in self.outer.values()}
        return sorted(self.of.channels(SCALES[j], width) for width in widths)

    def width(self, layer: int, j: int, role: str, drawn: Drawn) -> tuple[int, Tensor | None]:
        """Channels of the map entering cell (layer, j), and their score."""
        if layer in (0, self.of.layers):
            return self.of.channels(SCALES[j], self.outer[role][0 if layer == 0 else 1]), None
        row = layer - max(1, j)
        index = drawn.indices[j][row]
        return self.channels(layer, j)[index], None if drawn.scores is None else drawn.scores[j][row, index]

    def branches(self, images: Tensor, role: str, logits: Logits, drawn: Drawn) -> list[Tensor]:
        """The ends of the three branches."""
        alpha, beta = ([torch.softmax(rows, -1) for rows in group] for group in (logits.alpha, logits.beta))
        kept, gone_down = [self.ends[role].stem(images)], [torch.empty(0)]
        for layer in range(self.of.layers):
            keep, down = [], []
            for j, mixed in enumerate(self.keep[layer]):
                maps = [kept[j]] if j == 0 else [gone_down[j - 1], *([kept[j]] if layer > j else [])]
                shares = beta[j - 1][layer - j - 1].unbind() if len(maps) > 1 else None
                row, entering = alpha[j][layer - j], self.width(layer, j, role, drawn)[1]
                keep.append(self.cell(mixed, maps, shares, row, entering, self.width(layer + 1, j, role, drawn)))
                if j < len(self.down[layer]):
                    leaving = self.width(layer + 1, j + 1, role, drawn)
                    down.append(self.cell(self.down[layer][j], maps, shares, row, entering, leaving))
            kept, gone_down = keep, down
        return kept

    def cell(
        self,
        mixed: nn.Module,
        maps: Sequence[Tensor],
        shares: Sequence[Tensor] | None,
        row: Tensor,
        entering: Tensor | None,
        leaving: tuple[int, Tensor | None],
    ) -> Tensor:
        channels, score = leaving
        for factor in (entering, score):
            row = row if factor is None else row * factor
        factors = row.unbind()
        found = [mixed(x, factors, channels) for x in maps]
        if shares is None:
            return found[0]
        return shares[0] * found[0] + shares[1] * found[1]

    def forward(self, images: Tensor, role: str, logits: Logits, drawn: Drawn) -> list[Tensor]:
        """Class scores of the five heads, at 1/8."""
        ends: list[Tensor] = self.ends[role].predictions(self.branches(images, role, logits, drawn))
        return ends


class PublishedStep:
    """Steps over one supernet.

    Args:
        space: FasterSeg's.
        lookup: table values in ms.
    """

    def __init__(self, space: FasterSegSpace, lookup: Callable[[OperatorSpec], float]) -> None:
        torch.manual_seed(0)
        self.widths, self.rng = space.parameters.widths, np.random.default_rng(0)
        self.supernet = PublishedSupernet(space)
        self.logits = {role: Logits(space.parameters.layers, len(self.widths)) for role in (TEACHER, STUDENT)}
        self.rows = [len(rows) for rows in self.logits[STUDENT].gamma]
        self.optimizer = torch.optim.SGD(self.supernet.parameters(), lr=0.02, momentum=0.9, weight_decay=5e-4, foreach=True)
        self.architectures = [
            torch.optim.Adam(logits.parameters(), lr=3e-4, betas=(0.5, 0.999), foreach=True) for logits in self.logits.values()
        ]
        self.latency = PublishedWay(space, lookup, sampled)
        self.gumbel = Gumbel()

    def pretrain(self, batch: Batch) -> None:
        """A step of pre-training."""
        self.optimizer.zero_grad()
        drawn = [self.alike(-1), self.alike(0), self.random(), self.random()]
        self.update_weights(self.loss(batch, [(TEACHER, widths) for widths in drawn]))

    def search(self, training: Batch, validation: Batch) -> None:
        """A step of the search."""
        for optimizer in self.architectures:
            optimizer.zero_grad()
        self.loss(validation, self.of_search()).backward()
        student = self.logits[STUDENT]
        groups = [list(group) for group in (student.alpha, student.beta, student.gamma)]
        (LATENCY_FACTOR * self.latency.loss(*groups, PUBLISHED_WEIGHTS, self.gumbel)).backward()
        for optimizer in self.architectures:
            optimizer.step()
        self.optimizer.zero_grad()
        self.update_weights(self.loss(training, self.of_search()))

    def of_search(self) -> list[tuple[str, Drawn]]:
        gamma = [self.gumbel(rows) for rows in self.logits[STUDENT].gamma]
        of_student = Drawn([rows.argmax(dim=-1).tolist() for rows in gamma], gamma)
        drawn = [self.alike(-1), of_student, self.alike(-1), self.alike(0)]
        return list(zip((TEACHER, STUDENT, STUDENT, STUDENT), drawn, strict=True))

    def loss(self, batch: Batch, passes: Sequence[tuple[str, Drawn]]) -> Tensor:
        losses = [
            hard_pixel_cross_entropy(scores, batch.labels)
            for role, drawn in passes
            for scores in self.supernet(batch.images, role, self.logits[role], drawn)
        ]
        return torch.stack(losses).sum()

    def update_weights(self, loss: Tensor) -> None:
        loss.backward()
        logits = [tensor for role in self.logits.values() for tensor in role.parameters()]
        clip_grad_norm_([*self.supernet.parameters(), *logits], 5.0, foreach=True)
        self.optimizer.step()
        self.optimizer.zero_grad()

    def alike(self, index: int) -> Drawn:
        """The narrowest or the widest everywhere."""
        return Drawn([[index] * count for count in self.rows])

    def random(self) -> Drawn:
        return Drawn([self.rng.integers(len(self.widths), size=count).tolist() for count in self.rows])
