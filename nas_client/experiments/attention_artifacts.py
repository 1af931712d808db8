"""What the experiment on attention shows: its four cells."""

from __future__ import annotations

from statistics import fmean

import matplotlib as mpl
from matplotlib.figure import Figure

from nas_client.experiments.attention import AttentionCell, AttentionResult
from nas_client.experiments.experiment import Experiment, Plot, Points, Rows
from nas_client.experiments.results import NETWORK_HEADINGS, network_cells
from nas_client.plotting import INK, MUTED, SERIES, STYLE


def attention_rows(result: AttentionResult) -> Rows:
    """The four cells, with or without attention in search and training; mean ± deviation over seeds. Headings first."""
    ious, costs = ("student (%)", "loss", "teacher (%)"), ("estimate (ms)", "measured (ms)", "MACs (M)", "weights (M)")
    headings = ("search", "training", *ious, *costs)
    rows = [
        (
            *_placement(cell),
            cell.mean_iou.text(2, factor=100),
            "" if cell.loss is None else cell.loss.text(3),
            "" if cell.teacher_mean_iou is None else cell.teacher_mean_iou.text(2, factor=100),
            cell.estimate_ms.text(3),
            "–" if cell.measured_ms is None else cell.measured_ms.text(3),
            f"{fmean(student.macs for student in cell.students) / 1e6:#.4g}",
            f"{fmean(student.parameters for student in cell.students) / 1e6:#.4g}",
        )
        for cell in result.cells
    ]
    return [headings, *rows]


def attention_points(result: AttentionResult) -> Rows:
    """Every network that was trained, cell by cell."""
    rows = [
        (str(result.seeds[place]), *_placement(cell), network.name, *network_cells(network))
        for cell in result.cells
        for networks in (cell.teachers, cell.students)
        for place, network in enumerate(networks)
    ]
    return [("seed", "search", "training", "network", *NETWORK_HEADINGS), *rows]


def _placement(cell: AttentionCell) -> tuple[str, str]:
    """Whether there is attention in its search, and in its training."""
    return ("yes" if cell.searched else "no", "yes" if cell.trained else "no")


def attention_sentence(result: AttentionResult) -> str:
    """The answer, in words, and where latencies were measured."""
    seeds = len(result.seeds)
    targets = sorted({speed.target for cell in result.cells for speed in cell.speeds})
    missing = sorted({cell.speed_missing for cell in result.cells if cell.measured_ms is None and cell.speed_missing})
    where = f" Latencies were measured on {' and '.join(targets)}." if targets else ""
    why = f" Not measured: {'; '.join(missing)}." if missing else ""
    return (
        f"Over {seeds} seed{'s' * (seeds != 1)}, attention in the search changes the students' mIoU by "
        f"{_signed(result.searched_gain.text(2, factor=100))} points, attention in training by "
        f"{_signed(result.trained_gain.text(2, factor=100))}.{where}{why}"
    )


def plot_attention(result: AttentionResult) -> Figure:
    """Every student's mIoU by cell, with the cell's mean, and against its latency: measured, or estimated where one was not."""
    measured = [cell.measured_ms for cell in result.cells if cell.measured_ms is not None]
    estimated = [cell.estimate_ms for cell in result.cells]
    latencies = measured if len(measured) == len(result.cells) else estimated
    colours = {False: MUTED, True: SERIES[0]}
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8.4, 3.6), layout="constrained")
        by_cell, by_latency = figure.subplots(1, 2, sharey=True)
        for index, (cell, latency_ms) in enumerate(zip(result.cells, latencies, strict=True)):
            ious, marker = [100 * student.mean_iou for student in cell.students], "s" if cell.trained else "o"
            name = "in the search: {}, in training: {}".format(*_placement(cell))
            for axes, x in ((by_cell, [index] * len(ious)), (by_latency, list(latency_ms.values))):
                axes.scatter(x, ious, s=26, color=colours[cell.searched], marker=marker, linewidths=0, label=name)
            by_cell.plot([index - 0.2, index + 0.2], [100 * cell.mean_iou.mean] * 2, color=INK, linewidth=1.2)
        names = ["search: {}\ntraining: {}".format(*_placement(cell)) for cell in result.cells]
        by_cell.set_xticks(range(len(result.cells)), names, fontsize=7)
        by_cell.set(ylabel="mIoU after training (%)", xlim=(-0.6, len(result.cells) - 0.4))
        by_latency.set(xlabel=f"{'measured' if latencies is measured else 'estimated'} latency (ms)")
        by_latency.legend(fontsize=7)
        for axes in (by_cell, by_latency):
            axes.margins(y=0.15)
    return figure


def _signed(text: str) -> str:
    return text if text.startswith("-") else f"+{text}"


ATTENTION = Experiment(
    name="attention",
    title="attention",
    result=AttentionResult,
    words=attention_sentence,
    rows=attention_rows,
    caption="Attention in the search and in training, or not: mean ± standard deviation over seeds of equal runs.",
    plots=(Plot("attention", plot_attention, "Every student, and the mean of each cell."),),
    points=Points(attention_points, labels=4),
)
