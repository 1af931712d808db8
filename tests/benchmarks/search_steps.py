"""Both sides of the benchmark of a search step; as a program, the peak of one side's memory, as a process of its own shows it.

`python -m tests.benchmarks.search_steps SIDE PHASE SIZE` prints how many MiB the process grew by over three steps.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from models.spaces.fasterseg.space import FasterSegSpace
from models.spec.architectures import SpaceSpec
from nas_client.data.transforms import Batch
from nas_client.runs.processes import Processes
from nas_client.search.learner import Learner
from nas_client.search.progress import RngKey
from tests.benchmarks.published_step import PublishedStep
from tests.support.searches import small, small_table

Phase = Literal["pretrain", "search"]
PHASES: tuple[Phase, ...] = ("pretrain", "search")
STEPS = 10_000
"""Of a phase, so that learning rates stay where they are."""


@dataclass(frozen=True)
class Size:
    """A space and a batch, whose labels are at 1/8, as published."""

    layers: int
    base_channels: int
    image: tuple[int, int]
    images: int = 2

    @property
    def space(self) -> FasterSegSpace:
        parameters = {"layers": self.layers, "base_channels": self.base_channels, "widths": (4, 8, 12)}
        return FasterSegSpace.from_spec(SpaceSpec(name="fasterseg", input_size=self.image, parameters=parameters))

    def batch(self, seed: int) -> Batch:
        generator = torch.Generator().manual_seed(seed)
        height, width = self.image
        images = torch.randn(self.images, 3, height, width, generator=generator)
        return Batch(images, torch.randint(19, (self.images, height // 8, width // 8), generator=generator))


SIZES: Mapping[str, Size] = {"small": Size(6, 3, (64, 128)), "larger": Size(12, 6, (64, 128))}
FIVE_HEADS = ("8", "16", "32", "8,32", "16,32")
"""Those of the published code; by default a search has a head for each pair of branches."""

Step = Callable[[], object]


def learner_of(size: Size, phase: Phase, *, heads: tuple[str, ...] = ()) -> Learner:
    """Ours, about to make its first step."""
    config = small(heads=heads, pretrain__random_widths=2)
    learner = Learner(config, size.space, small_table(size.space.spec), Processes())
    learner.start_phase(phase)
    return learner


def step_of(learner: Learner, size: Size, phase: Phase) -> Step:
    """A step of ours; a search trains weights on one batch and architectures on another."""
    batches, done = [size.batch(0), size.batch(1)], iter(range(STEPS))

    def step() -> None:
        number = next(done)
        learner.step(batches, RngKey(0, PHASES.index(phase), 0, number), "here", step=number, steps=STEPS)

    return step


def published_step(size: Size, phase: Phase) -> Step:
    """The published way's."""
    theirs, batches = PublishedStep(size.space, small_table(size.space.spec).lookup), (size.batch(0), size.batch(1))
    return (lambda: theirs.pretrain(batches[0])) if phase == "pretrain" else (lambda: theirs.search(*batches))


SIDES: Mapping[str, Callable[[Size, Phase], Step]] = {
    "published": published_step,
    "ours": lambda size, phase: step_of(learner_of(size, phase), size, phase),
    "ours, five heads": lambda size, phase: step_of(learner_of(size, phase, heads=FIVE_HEADS), size, phase),
}


def _peak_mib() -> float:
    """Of this program alone: `ru_maxrss` would begin with the peak of the process that started it. Linux."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


def _main(side: str, phase: str, size: str) -> None:
    torch.set_num_threads(1)
    step = SIDES[side](SIZES[size], "pretrain" if phase == "pretrain" else "search")
    before = _peak_mib()
    for _ in range(3):
        step()
    print(_peak_mib() - before)


if __name__ == "__main__":
    _main(*sys.argv[1:])
