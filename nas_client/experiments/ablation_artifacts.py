"""What the ablation leaves beside its runs: its result as JSON, a table in Markdown, and a figure."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from nas_client.experiments.ablation import ABLATION, AblationResult
from nas_client.experiments.artifacts import Rows, markdown
from nas_client.experiments.spread import Spread
from nas_client.plotting import SERIES, STYLE, save_pair


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


def write_ablation(result: AblationResult, folder: Path) -> None:
    """`ablation.json`, `ablation.md`, and the figure `ablation` as PNG and SVG. Raises OSError."""
    path = folder / ABLATION
    path.write_text(result.model_dump_json(indent=2) + "\n", encoding="utf-8")
    path.with_suffix(".md").write_text(markdown(ablation_rows(result)), encoding="utf-8")
    save_pair(plot_ablation(result), folder / "ablation")


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
