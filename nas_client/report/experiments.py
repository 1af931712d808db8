"""Experiments as parts of the page: every point, mean and spread."""

from __future__ import annotations

from itertools import chain

from nas_client.experiments.ablation import AblationResult
from nas_client.experiments.ablation_artifacts import ablation_rows, plot_ablation
from nas_client.experiments.artifacts import collapse_rows, plot_epochs, plot_random, plot_trade, random_rows, random_sentence
from nas_client.experiments.attention import AttentionResult
from nas_client.experiments.attention_artifacts import attention_rows, attention_sentence, placement_words, plot_attention
from nas_client.experiments.collapse import CollapseResult
from nas_client.experiments.methods import MethodsResult
from nas_client.experiments.methods_artifacts import difference_rows, methods_sentence, plot_methods, point_rows
from nas_client.experiments.random_networks import RandomResult
from nas_client.experiments.reference_artifacts import plot_references, reference_rows, references_sentence
from nas_client.experiments.reference_networks import ReferencesResult
from nas_client.report.blocks import Grid, Section, Text, drawn, milliseconds, percent


def collapse_section(result: CollapseResult, index: int) -> Section:
    """Naive against decoupled latency loss. `index` numbers the experiments of a page."""
    name = f"collapse{index}"
    headings, *rows = collapse_rows(result)
    settings = result.config.latency
    points = [
        (
            str(point.seed),
            point.mode,
            str(point.epoch),
            milliseconds(point.relaxed_ms),
            percent(point.mean_iou),
            percent(point.skip_share, 0),
            percent(point.narrowest_share, 0),
            milliseconds(point.estimate_ms),
        )
        for point in result.points
    ]
    names = ("seed", "loss", "epoch", "supernet (ms)", "mIoU (%)", "skips (%)", "narrowest (%)", "student (ms)")
    return Section(
        name,
        "Experiment: collapse",
        [
            Text(
                f"For each of {len(result.seeds)} seeds one pre-trained supernet, from which every latency loss searches with "
                f"the same seed; λ = {settings.factor:g}. Circles: before the search; points grow with the epochs."
            ),
            Grid(headings, rows, "Where the searches ended: mean ± standard deviation over seeds. mIoU is the supernet's."),
            drawn(plot_trade(result), f"{name}-trade", "The supernet's mIoU against its latency, epoch by epoch."),
            drawn(plot_epochs(result), f"{name}-epochs", "Thin: each seed; thick: their mean."),
            Grid(names, points, "All points; epoch 0 is before the search.", numbers=2, folded=True),
        ],
    )


def random_section(result: RandomResult, index: int) -> Section:
    """Found students against random networks. `index` numbers the experiments of a page."""
    name = f"random{index}"
    headings, *rows = random_rows(result)
    points = [
        (
            str(group.seed),
            network.name,
            milliseconds(network.estimate_ms),
            f"{network.macs / 1e6:#.4g}",
            f"{network.parameters / 1e6:#.4g}",
            percent(network.mean_iou, 2),
            percent(network.best_mean_iou, 2),
        )
        for group in result.groups
        for network in (group.teacher, group.found, *chain(*(random.networks for random in group.random.values())))
        if network is not None
    ]
    names = ("seed", "network", "estimate (ms)", "multiply-adds (M)", "parameters (M)", "mIoU (%)", "best mIoU (%)")
    return Section(
        name,
        "Experiment: found against random",
        [
            Text(random_sentence(result)),
            Grid(headings, rows, "mIoU after the last epoch of equal trainings, under the same teacher if there is one."),
            drawn(plot_random(result), f"{name}-points", "Every network trained; stars: the students that were found."),
            Grid(names, points, "All networks.", numbers=2, folded=True),
        ],
    )


def methods_section(result: MethodsResult, index: int) -> Section:
    """Methods side by side, each against random networks. `index` numbers the experiments of a page."""
    name = f"methods{index}"
    headings, *rows = difference_rows(result)
    points, *networks = point_rows(result)
    return Section(
        name,
        "Experiment: methods",
        [
            Text(methods_sentence(result)),
            Grid(headings, rows, "Paired differences of mIoU over seeds, after the last epoch of equal trainings."),
            drawn(
                plot_methods(result), f"{name}-points", "Left: every network trained. Right: each seed, mean, 95 % interval."
            ),
            Grid(points, networks, "All networks.", numbers=3, folded=True),
        ],
    )


def attention_section(result: AttentionResult, index: int) -> Section:
    """Attention in the search and in training, two by two. `index` numbers the experiments of a page."""
    name = f"attention{index}"
    headings, *rows = attention_rows(result)
    points = [
        (
            str(result.seeds[place]),
            *placement_words(cell),
            network.name,
            milliseconds(network.estimate_ms),
            f"{network.macs / 1e6:#.4g}",
            f"{network.parameters / 1e6:#.4g}",
            percent(network.mean_iou, 2),
            percent(network.best_mean_iou, 2),
        )
        for cell in result.cells
        for networks in (cell.teachers, cell.students)
        for place, network in enumerate(networks)
    ]
    columns = ("estimate (ms)", "multiply-adds (M)", "parameters (M)", "mIoU (%)", "best mIoU (%)")
    return Section(
        name,
        "Experiment: attention",
        [
            Text(attention_sentence(result)),
            Grid(
                headings,
                rows,
                "Attention in the search and in training, or not: mean ± standard deviation over seeds of equal runs.",
            ),
            drawn(plot_attention(result), f"{name}-points", "Every student, and the mean of each cell."),
            Grid(("seed", "search", "training", "network", *columns), points, "All networks.", numbers=4, folded=True),
        ],
    )


def references_section(result: ReferencesResult, index: int) -> Section:
    """Found networks beside those of other people. `index` numbers the experiments of a page."""
    name = f"references{index}"
    headings, *rows = reference_rows(result)
    return Section(
        name,
        "Experiment: found against reference networks",
        [
            Text(references_sentence(result)),
            Grid(headings, rows, "After the last epoch of equal trainings: mean ± standard deviation over seeds."),
            drawn(plot_references(result), f"{name}-points", "Every training; stars: networks that were found."),
        ],
    )


def ablation_section(result: AblationResult, index: int) -> Section:
    """What each part of a search is worth. `index` numbers the experiments of a page."""
    name = f"ablation{index}"
    headings, *rows = ablation_rows(result)
    return Section(
        name,
        "Experiment: ablation",
        [
            Text(
                f"For each of {len(result.seeds)} seeds every space is searched, and what is found is trained, with the "
                "teacher or without. The published numbers are of other images, devices and trainings."
            ),
            Grid(headings, rows, "Mean ± standard deviation over seeds; mIoU after the last epoch; ms and FPS by the table."),
            drawn(plot_ablation(result), f"{name}-rows", "Every network: mIoU against its estimated latency."),
        ],
    )
