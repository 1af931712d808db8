"""What an experiment leaves behind beside its runs: its result as JSON, a table in Markdown, figures."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from pathlib import Path

from models.spec.base import Record
from nas_client.experiments.collapse import COLLAPSE, CollapseResult
from nas_client.experiments.plots import plot_epochs, plot_random, plot_trade
from nas_client.experiments.random_networks import RANDOM, RandomNetworks, RandomResult
from nas_client.plotting import save_pair

Rows = Sequence[Sequence[str]]
"""Headings first."""


def collapse_rows(result: CollapseResult) -> Rows:
    """Where the searches ended, mean ± deviation over seeds, and where that of the first seed began. mIoU is the supernet's."""
    headings = ("loss", "supernet (ms)", "mIoU (%)", "skips (%)", "narrowest (%)", "student (ms)")
    start = {point.seed: point for point in result.points if point.epoch == 0}
    first = next(iter(start.values()))
    rows = [
        (
            "before",
            f"{first.relaxed_ms:.3f}",
            "–" if first.mean_iou is None else f"{100 * first.mean_iou:.1f}",
            f"{100 * first.skip_share:.0f}",
            f"{100 * first.narrowest_share:.0f}",
            f"{first.estimate_ms:.3f}",
        )
    ]
    rows += [
        (
            summary.mode,
            summary.relaxed_ms.text(3),
            summary.mean_iou.text(1, factor=100),
            summary.skip_share.text(0, factor=100),
            summary.narrowest_share.text(0, factor=100),
            summary.estimate_ms.text(3),
        )
        for summary in result.summaries
    ]
    return [headings, *rows]


def write_collapse(result: CollapseResult, folder: Path) -> None:
    """`collapse.json`, `collapse.md`, and the figures `trade` and `epochs` as PNG and SVG. Raises OSError."""
    _write(result, folder / COLLAPSE, collapse_rows(result))
    save_pair(plot_trade(result), folder / "trade")
    save_pair(plot_epochs(result), folder / "epochs")


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
            f"{100 * group.teacher.mean_iou:.2f}",
        )
        for group in result.groups
    ]
    means = [
        (f"{100 * (result.found.mean - judged.gain.mean):.2f}", judged.random.text(2, factor=100), "")
        for judged in result.judgements.values()
    ]
    over_all = ("mean", result.found.text(2, factor=100), *chain(*means), "", result.teacher.text(2, factor=100))
    return [(*headings, "found (ms)", "teacher (%)"), *rows, over_all]


def _random_cells(random: RandomNetworks) -> Sequence[str]:
    ious = [100 * network.mean_iou for network in random.networks]
    return f"{100 * random.median:.2f}", f"{min(ious):.2f} to {max(ious):.2f}", f"{random.tried} for {len(ious)}"


def random_sentence(result: RandomResult) -> str:
    """The answer, in words."""
    return " ".join(
        f"Against {kind} networks the found student is above its seed's median for {judged.seeds_won} of {len(result.groups)} "
        f"seeds, by {judged.gain.text(2, factor=100)} points of mIoU, and above {judged.beaten:.0%} of the "
        f"{len(judged.random.values)} (estimates within ±{result.tolerance:.0%})."
        for kind, judged in result.judgements.items()
    )


def write_random(result: RandomResult, folder: Path) -> None:
    """`random.json`, `random.md`, and the figure `random` as PNG and SVG. Raises OSError."""
    _write(result, folder / RANDOM, random_rows(result))
    save_pair(plot_random(result), folder / "random")


def _write(result: Record, path: Path, rows: Rows) -> None:
    path.write_text(result.model_dump_json(indent=2) + "\n", encoding="utf-8")
    path.with_suffix(".md").write_text(markdown(rows), encoding="utf-8")


def markdown(rows: Rows) -> str:
    """A table."""
    headings, *others = rows
    lines = [headings, ["---"] * len(headings), *others]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
