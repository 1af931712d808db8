"""Where FasterSeg's networks downsample: those that decoding makes of chance, and those that an experiment trained.

Without an experiment, for each end the mean layer at which each coarser scale is entered, and how often at the first place,
over random logits as the experiment on random networks draws them, beside what places drawn evenly have. With one, for each
kind of network the convolutions at 1/8 before its coarsest branch downsamples, and over all of them their rank correlation
with mIoU.

    python scripts/downsampling.py --layers 16 --draws 400 --deviation 0.001
    python scripts/downsampling.py --experiment random/
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from statistics import fmean

import numpy as np
from scipy.special import softmax
from scipy.stats import spearmanr

from models.spaces.fasterseg.decoding import most_probable, path_odds
from models.spaces.fasterseg.genotype import FasterSegGenotype
from models.spaces.fasterseg.parameters import SCALES
from models.spaces.fasterseg.space import FasterSegSpace
from models.spaces.registry import read_architecture
from models.spec.architectures import ArchitectureSpec, SpaceSpec
from nas_client.train.folder import read_result

CONVOLUTIONS = {"skip": 0, "conv3x3": 1, "zoomed_conv3x3": 1, "conv3x3_x2": 2, "zoomed_conv3x3_x2": 2}
"""Of a cell's 3×3 convolutions."""


def main() -> None:
    """Print a line for each end, or for each kind of network."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--experiment", type=Path, help="folder of `nas-client experiment random` or `methods`")
    parser.add_argument("--layers", type=int, default=16)
    parser.add_argument("--draws", type=int, default=400)
    parser.add_argument("--deviation", type=float, default=1e-3, help="of the noise on the logits that a search starts from")
    options = parser.parse_args()
    lines = (
        _random_places(options.layers, options.draws, options.deviation)
        if options.experiment is None
        else _trained_places(options.experiment)
    )
    for line in lines:
        print(line)


def _random_places(layers: int, draws: int, deviation: float) -> Iterator[str]:
    space = FasterSegSpace.from_spec(SpaceSpec(name="fasterseg", input_size=(32, 64), parameters={"layers": layers}))
    start, rng = space.initial_logits()["beta"], np.random.default_rng(0)
    for coarser, end in enumerate(SCALES[1:], start=1):
        found = []
        for _ in range(draws):
            beta = {
                group: softmax(np.asarray(rows) + deviation * rng.standard_normal((len(rows), 2)), axis=-1)
                for group, rows in start.items()
            }
            found.append(most_probable(path_odds(layers, {"beta": beta}, end)))
        even = list(combinations(range(1, layers), coarser))
        yield f"to 1/{end}: {_places(found)}; drawn evenly: {_places(even)}"


def _places(found: list[tuple[int, ...]]) -> str:
    by_scale = zip(SCALES[1:], zip(*found, strict=True), strict=False)
    means = ", ".join(f"1/{scale} from layer {fmean(layers):.1f}" for scale, layers in by_scale)
    return f"{means}, at the first place {fmean(layers[0] == 1 for layers in found):.3f}"


def _trained_places(experiment: Path) -> Iterator[str]:
    points = defaultdict(list)
    for path in sorted(experiment.glob("seed*/*.json")):
        run = path.with_suffix("")
        metrics = read_result(run).final if run.is_dir() else None
        if metrics is not None and metrics.mean_iou is not None:
            architecture = read_architecture(path.read_bytes(), str(path))
            points[path.stem.rstrip("0123456789")].append((early_convolutions(architecture), metrics.mean_iou))
    for kind, several in points.items():
        early, ious = zip(*several, strict=True)
        yield f"{kind}: {len(several)} networks, {fmean(early):.1f} convolutions at 1/8, mIoU {100 * fmean(ious):.2f} %"
    together = [point for several in points.values() for point in several]
    if len(together) > 1:
        correlation = spearmanr(*zip(*together, strict=True)).statistic
        yield f"rank correlation with mIoU over {len(together)} networks: {correlation:.2f}"


def early_convolutions(architecture: ArchitectureSpec) -> int:
    """3×3 convolutions of the coarsest branch's cells at 1/8, the one that leaves it included."""
    coarsest = max(FasterSegGenotype.of(architecture).branches, key=lambda branch: branch.scales[-1])
    cells = zip(coarsest.operators, coarsest.scales, strict=True)
    return sum(CONVOLUTIONS[kind] for kind, scale in cells if scale == SCALES[0])


if __name__ == "__main__":
    main()
