"""What the ablation shows: the rows of the paper, ours beside them."""

from __future__ import annotations

import matplotlib as mpl
from matplotlib.figure import Figure

from nas_client.experiments.ablation import AblationResult
from nas_client.experiments.experiment import Experiment, Plot, Rows
from nas_client.experiments.spread import Spread
from nas_client.plotting import SERIES, STYLE


def ablation_rows(result: AblationResult) -> Rows:
    """The paper's rows, mean ± deviation over seeds, with what is published of each; the teacher last."""
    headings = ("", "mIoU (%)", "estimate (ms)", "FPS", "multiply-adds (G)", "parameters (M)", "published mIoU (%)", "FPS")
    rows = [
        (
            row.name,
            row.mean_iou.text(2, factor=100),
            row.estimate_ms.text(3),
            row.fps.text(1),
            Spread.of([network.macs / 1e9 for network in row.networks]).text(3),
            Spread.of([network.parameters / 1e6 for network in row.networks]).text(3),
            f"{100 * row.published_mean_iou:.1f}",
            f"{row.published_fps:.1f}",
        )
        for row in result.rows
    ]
    return [headings, *rows, ("teacher", result.teacher.text(2, factor=100), *[""] * 6)]


def ablation_words(result: AblationResult) -> str:
    """What was done, and what the published numbers are of."""
    return (
        f"For each of {len(result.seeds)} seeds every space is searched, and what is found is trained, with the "
        "teacher or without. The published numbers are of other images, devices and trainings."
    )


def plot_ablation(result: AblationResult) -> Figure:
    """Every network: mIoU against its estimated latency, a mark for each row."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 3.8), layout="constrained")
        axes = figure.subplots()
        for index, row in enumerate(result.rows):
            x, y = [n.estimate_ms for n in row.networks], [100 * n.mean_iou for n in row.networks]
            mark, colour = "osD^*"[index % 5], SERIES[index % len(SERIES)]
            axes.scatter(x, y, s=34, marker=mark, color=colour, linewidths=0, label=row.name)
        axes.set(xlabel="estimated latency (ms)", ylabel="mIoU after training (%)")
        axes.legend(fontsize=8)
        axes.margins(0.1)
    return figure


ABLATION = Experiment(
    name="ablation",
    title="ablation",
    result=AblationResult,
    words=ablation_words,
    rows=ablation_rows,
    caption="Mean ± standard deviation over seeds; mIoU after the last epoch; ms and FPS by the table.",
    plots=(Plot("ablation", plot_ablation, "Every network: mIoU against its estimated latency."),),
)
