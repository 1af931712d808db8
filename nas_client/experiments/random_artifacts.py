"""What the comparison with random networks shows: the found students beside them, seed by seed."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import matplotlib as mpl
from matplotlib.figure import Figure

from nas_client.experiments.experiment import Experiment, Plot, Points, Rows
from nas_client.experiments.latency_matched import Baseline
from nas_client.experiments.random_networks import RandomNetworks, RandomResult
from nas_client.experiments.results import NETWORK_HEADINGS, network_cells
from nas_client.plotting import INK, MUTED, SERIES, STYLE


def random_rows(result: RandomResult) -> Rows:
    """By seed and over all: the found student beside the random networks of its latency."""
    kinds = tuple(result.judgements)
    headings = ("seed", "found (%)", *(f"{kind}: {what}" for kind in kinds for what in ("median (%)", "all (%)", "drawn")))
    rows = [
        (
            str(group.seed),
            f"{100 * group.found.mean_iou:.2f}",
            *(cell for kind in kinds for cell in _random_cells(group.random[kind])),
            f"{group.found.estimate_ms:.3f}",
            "" if group.teacher is None else f"{100 * group.teacher.mean_iou:.2f}",
        )
        for group in result.groups
    ]
    means = [
        (f"{100 * (result.found.mean - score.gain.mean):.2f}", score.random.text(2, factor=100), "")
        for score in result.judgements.values()
    ]
    teacher = "" if result.teacher is None else result.teacher.text(2, factor=100)
    over_all = ("mean", result.found.text(2, factor=100), *chain(*means), "", teacher)
    return [(*headings, "found (ms)", "teacher (%)"), *rows, over_all]


def _random_cells(random: RandomNetworks) -> Sequence[str]:
    ious = [100 * network.mean_iou for network in random.networks]
    return f"{100 * random.median:.2f}", f"{min(ious):.2f} to {max(ious):.2f}", f"{random.tried} for {len(ious)}"


def random_sentence(result: RandomResult) -> str:
    """The answer, in words."""
    said = [
        f"Against {kind} networks the found student is above its seed's median for {score.seeds_won} of {len(result.groups)} "
        f"seeds, by {score.gain.text(2, factor=100)} points of mIoU, and above {score.beaten:.0%} of the "
        f"{len(score.random.values)} (estimates within ±{result.tolerance:.0%})."
        for kind, score in result.judgements.items()
    ]
    if result.chosen_on_validation:
        said.append(
            "The searches chose among their alternatives on the validation split, which favours what they found; "
            "evaluation.split=selection of a search avoids that."
        )
    return " ".join(said)


def random_points(result: RandomResult) -> Rows:
    """Every network that was trained."""
    rows = [
        (str(group.seed), network.name, *network_cells(network))
        for group in result.groups
        for network in (group.teacher, group.found, *chain(*(random.networks for random in group.random.values())))
        if network is not None
    ]
    return [("seed", "network", *NETWORK_HEADINGS), *rows]


_COLOURS: dict[Baseline, str] = {"sampled": MUTED, "decoded": SERIES[0]}


def plot_random(result: RandomResult) -> Figure:
    """Every trained network: mIoU by seed, and against the estimate. Random networks of each kind stand beside each other."""
    kinds = list(result.judgements)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8.8, 3.8), layout="constrained")
        by_seed, by_latency = figure.subplots(1, 2, sharey=True)
        for index, group in enumerate(result.groups):
            first = index == 0  # what stands in the legend, once
            for number, kind in enumerate(kinds):
                random, x = group.random[kind], index + 0.3 * (number - (len(kinds) - 1) / 2)
                ious, ms = [100 * n.mean_iou for n in random.networks], [n.estimate_ms for n in random.networks]
                name, colour = kind if first else None, _COLOURS[kind]
                by_seed.scatter([x] * len(ious), ious, s=22, color=colour, alpha=0.8, linewidths=0, label=name)
                by_latency.scatter(ms, ious, s=22, color=colour, alpha=0.8, linewidths=0)
                line, median = [x - 0.1, x + 0.1], "median" if first and number == 0 else None
                by_seed.plot(line, [100 * random.median] * 2, color=INK, linewidth=1.2, label=median)
            iou, found = 100 * group.found.mean_iou, "found" if first else None
            for axes, x in ((by_seed, index), (by_latency, group.found.estimate_ms)):
                axes.scatter([x], [iou], s=60, marker="*", color=SERIES[1], zorder=4, label=found)
        by_seed.set(xlabel="seed", ylabel="mIoU after training (%)", xlim=(-0.6, len(result.groups) - 0.4))
        by_seed.set_xticks(range(len(result.groups)), [str(group.seed) for group in result.groups])
        by_latency.set(xlabel="estimated latency (ms)")
        by_seed.legend(fontsize=8)
        for axes in (by_seed, by_latency):
            axes.margins(y=0.12)
    return figure


RANDOM = Experiment(
    name="random",
    title="found against random",
    result=RandomResult,
    words=random_sentence,
    rows=random_rows,
    caption="mIoU after the last epoch of equal trainings, under the same teacher if there is one.",
    plots=(Plot("random", plot_random, "Every network trained; stars: the students that were found."),),
    points=Points(random_points),
)
