"""What the experiment on attention leaves beside its runs."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean

import matplotlib as mpl
from matplotlib.figure import Figure

from nas_client.experiments.artifacts import Rows, markdown
from nas_client.experiments.attention import ATTENTION, AttentionCell, AttentionResult
from nas_client.plotting import INK, MUTED, SERIES, STYLE, save_pair


def attention_rows(result: AttentionResult) -> Rows:
    """The four cells, with or without attention in search and training; mean ± deviation over seeds. Headings first."""
    headings = ("search", "training", "student (%)", "teacher (%)", "student (ms)", "MACs (M)", "weights (M)")
    rows = [
        (
            *placement_words(cell),
            cell.mean_iou.text(2, factor=100),
            "" if cell.teacher_mean_iou is None else cell.teacher_mean_iou.text(2, factor=100),
            cell.estimate_ms.text(3),
            f"{fmean(student.macs for student in cell.students) / 1e6:#.4g}",
            f"{fmean(student.parameters for student in cell.students) / 1e6:#.4g}",
        )
        for cell in result.cells
    ]
    return [headings, *rows]


def placement_words(cell: AttentionCell) -> tuple[str, str]:
    """Whether there is attention in its search, and in its training."""
    return ("yes" if cell.searched else "no", "yes" if cell.trained else "no")


def attention_sentence(result: AttentionResult) -> str:
    """The answer, in words."""
    seeds = len(result.seeds)
    return (
        f"Over {seeds} seed{'s' * (seeds != 1)}, attention in the search changes the students' mIoU by "
        f"{_signed(result.searched_gain.text(2, factor=100))} points, attention in training by "
        f"{_signed(result.trained_gain.text(2, factor=100))}."
    )


def write_attention(result: AttentionResult, folder: Path) -> None:
    """`attention.json`, `attention.md`, and the figure `attention` as PNG and SVG. Raises OSError."""
    path = folder / ATTENTION
    path.write_text(result.model_dump_json(indent=2) + "\n", encoding="utf-8")
    path.with_suffix(".md").write_text(markdown(attention_rows(result)), encoding="utf-8")
    save_pair(plot_attention(result), folder / "attention")


def plot_attention(result: AttentionResult) -> Figure:
    """Every student's mIoU by cell, with the cell's mean, and against the estimated latency."""
    colours = {False: MUTED, True: SERIES[0]}
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8.4, 3.6), layout="constrained")
        by_cell, by_latency = figure.subplots(1, 2, sharey=True)
        for index, cell in enumerate(result.cells):
            ious, marker = [100 * student.mean_iou for student in cell.students], "s" if cell.trained else "o"
            name = "in the search: {}, in training: {}".format(*placement_words(cell))
            for axes, x in ((by_cell, [index] * len(ious)), (by_latency, list(cell.estimate_ms.values))):
                axes.scatter(x, ious, s=26, color=colours[cell.searched], marker=marker, linewidths=0, label=name)
            by_cell.plot([index - 0.2, index + 0.2], [100 * cell.mean_iou.mean] * 2, color=INK, linewidth=1.2)
        names = ["search: {}\ntraining: {}".format(*placement_words(cell)) for cell in result.cells]
        by_cell.set_xticks(range(len(result.cells)), names, fontsize=7)
        by_cell.set(ylabel="mIoU after training (%)", xlim=(-0.6, len(result.cells) - 0.4))
        by_latency.set(xlabel="estimated latency (ms)")
        by_latency.legend(fontsize=7)
        for axes in (by_cell, by_latency):
            axes.margins(y=0.15)
    return figure


def _signed(text: str) -> str:
    return text if text.startswith("-") else f"+{text}"
