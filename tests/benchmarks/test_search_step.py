"""A search step: what of it the latency loss is, and how it compares with the published code's way of stepping.

A small supernet is the hard case of the first: the loss does not shrink with the images.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from functools import wraps
from typing import Any

import pytest
import torch
from torch import nn

from models.spaces.fasterseg.parameters import SCALES, TEACHER
from models.supernets.base import Mixture
from nas_client.data.transforms import Batch
from nas_client.search import updates
from nas_client.search.progress import RngKey
from tests.benchmarks.published_step import PublishedStep
from tests.benchmarks.search_steps import PHASES, SIDES, SIZES, Phase, learner_of, step_of
from tests.support.repository import ROOT
from tests.support.searches import prepared, small, small_table

pytestmark = [pytest.mark.benchmark, pytest.mark.usefixtures("quiet_process")]

MOST_SHARE = 0.01
STEPS = 10

ROUNDS = {"small": 5, "larger": 2}
LEAST_RATIO = {"pretrain": 0.85, "search": 1.6}
"""Published over ours, with the published code's heads. Pre-training has little to gain: ours trains teacher and student, in
five passes; the published code the teacher alone, in four."""


@pytest.mark.parametrize("mode", ["decoupled", "naive"])
def test_the_latency_loss_is_a_small_part_of_a_step(mode: str) -> None:
    space = SIZES["small"].space
    run = prepared(small(latency__mode=mode), small_table(space.spec))
    batch = Batch(torch.randn(2, 3, 64, 128), torch.randint(19, (2, 64, 128)))
    shares = []
    for step in range(STEPS + 1):
        before, started = run.latency_s, time.perf_counter()
        run.step([batch, batch], RngKey(0, 1, 0, step), "here", step=step, steps=STEPS + 1)
        shares.append((run.latency_s - before) / (time.perf_counter() - started))
    share = statistics.median(shares[1:])  # the first fills caches
    print(f"\nlatency loss ({mode}), share of a search step with two images of 64×128: {share:.3%} (at most {MOST_SHARE:.0%})")
    assert share < MOST_SHARE


def test_the_published_way_computes_the_same_cells() -> None:
    """Where β takes one of two maps, weighing the maps and weighing what comes of them are the same."""
    size = SIZES["small"]
    learner, theirs = learner_of(size, "search"), PublishedStep(size.space, small_table(size.space.spec).lookup)
    ours, published, logits = learner.supernet, theirs.supernet, theirs.logits[TEACHER]
    published.ends[TEACHER].stem = nn.Identity()
    with torch.no_grad():
        for group in (*logits.alpha, *logits.beta):
            group.normal_()
        for group in logits.beta:
            group.copy_(80 * (group > group.flip(-1)))
        for group, stride in ((published.keep, 1), (published.down, 2)):
            for layer, cells in enumerate(group):
                for scale, mixed in zip(SCALES, cells, strict=False):
                    mixed.load_state_dict(ours.cell(layer, scale, stride).state_dict())
    drawn = theirs.random()
    entry = torch.randn(2, size.space.parameters.channels(8, 12), 8, 16)
    alpha, beta = (torch.softmax(torch.cat(list(group)), -1) for group in (logits.alpha, logits.beta))
    mixture = Mixture(alpha, beta, tuple(index for rows in drawn.indices for index in rows))
    nodes = [ours.ends[scale] for scale in SCALES]
    found = ours.cells(entry, mixture, TEACHER, nodes)
    expected = published.branches(entry, TEACHER, logits, drawn)
    for node, theirs_at_end in zip(nodes, expected, strict=True):
        torch.testing.assert_close(found[node], theirs_at_end, rtol=1e-3, atol=1e-4)


def step_s(step: Callable[[], object]) -> float:
    """CPU time: other processes make it hardly longer."""
    started = time.process_time()
    step()
    return time.process_time() - started


def peak_mib(side: str, phase: Phase, size: str) -> float:
    command = [sys.executable, "-m", "tests.benchmarks.search_steps", side, phase, size]
    return float(subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout)


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("size", list(SIZES))
def test_a_step_against_the_published_way(size: str, phase: Phase) -> None:
    steps = {side: make(SIZES[size], phase) for side, make in SIDES.items()}
    taken_s: dict[str, list[float]] = {side: [] for side in steps}
    for _ in range(1 + ROUNDS[size]):
        for side, step in steps.items():
            taken_s[side].append(step_s(step))
    median_s = {side: statistics.median(several[1:]) for side, several in taken_s.items()}  # the first fills caches
    peaks = {side: peak_mib(side, phase, size) for side in steps}
    print(f"\na step of {phase}, {SIZES[size]}, one thread:")
    for side, seconds in median_s.items():
        print(
            f"  {side}: {1e3 * seconds:.0f} ms, {peaks[side]:.0f} MiB; published over this: time "
            f"{median_s['published'] / seconds:.2f}, memory {peaks['published'] / peaks[side]:.1f}"
        )
    ratio = median_s["published"] / median_s["ours, five heads"]
    assert ratio >= LEAST_RATIO[phase]
    assert peaks["published"] > peaks["ours, five heads"]


class Stopwatch:
    """CPU seconds by what is done; what is done within is part of it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seconds: Counter[str] = Counter()
        self._patch, self._inside = monkeypatch, False

    def around(self, owner: Any, name: str, what: Callable[..., str] | str) -> None:
        """Time a function from now on."""
        function = getattr(owner, name)

        @wraps(function)
        def timed(*arguments: Any, **named: Any) -> Any:
            if self._inside:
                return function(*arguments, **named)
            self._inside, started = True, time.process_time()
            try:
                return function(*arguments, **named)
            finally:
                self.seconds[what if isinstance(what, str) else what(*arguments)] += time.process_time() - started
                self._inside = False

        self._patch.setattr(owner, name, timed)


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("size", list(SIZES))
def test_where_the_time_of_a_step_goes(size: str, phase: Phase, monkeypatch: pytest.MonkeyPatch) -> None:
    def whose(_passes: object, _batch: Batch, mixture: Mixture, _role: str) -> str:
        return "forward of architectures" if mixture.alpha.requires_grad else "forward of weights"

    step = step_of(learner_of(SIZES[size], phase), SIZES[size], phase)
    step()
    watch = Stopwatch(monkeypatch)
    watch.around(updates.SegmentationPass, "loss", whose)
    watch.around(torch.Tensor, "backward", "backward of weights")
    watch.around(torch.autograd, "grad", "backward of architectures")
    watch.around(updates.ArchitectureUpdate, "_latency_gradients", "latency loss")
    for owner, name in ((torch.optim.SGD, "step"), (torch.optim.SGD, "zero_grad"), (torch.optim.Adam, "step")):
        watch.around(owner, name, "optimisers")
    watch.around(updates, "clip_grad_norm_", "optimisers")
    whole_s = sum(step_s(step) for _ in range(ROUNDS[size]))
    shares = {what: seconds / whole_s for what, seconds in watch.seconds.items()}
    print(f"\na step of {phase}, {size}: " + ", ".join(f"{what} {share:.1%}" for what, share in shares.items()))
    assert shares["forward of weights"] + shares["backward of weights"] > 0.3
    assert ("latency loss" in shares) == (phase == "search")
    assert 0.9 < sum(shares.values()) <= 1
