"""An experiment as a part of the page: every point, mean and spread."""

from __future__ import annotations

from typing import Any

from models.spec.base import Record
from nas_client.experiments.experiment import Experiment
from nas_client.report.blocks import Block, Grid, Section, Text, drawn


def experiment_section(experiment: Experiment[Any], result: Record, index: int) -> Section:
    """What came out. `index` numbers the experiments of this name on a page."""
    name = f"{experiment.name}{index}"
    headings, *rows = experiment.rows(result)
    blocks: list[Block] = [Text(experiment.words(result)), Grid(headings, rows, experiment.caption)]
    blocks += [drawn(plot.draw(result), f"{name}-{plot.name}", plot.caption) for plot in experiment.plots]
    if (points := experiment.points) is not None:
        headings, *rows = points.rows(result)
        blocks.append(Grid(headings, rows, points.caption, numbers=points.labels, folded=True))
    return Section(name, f"Experiment: {experiment.title}", blocks)
