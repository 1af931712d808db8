"""A selection as part of the page: what was chosen, the front, and how far its ranking is to be relied on."""

from __future__ import annotations

from collections.abc import Iterator

from nas_client.report.blocks import NONE, Block, Fold, Grid, Picture, Section, Text, milliseconds, percent
from nas_client.report.folder import SelectionRun
from nas_client.report.front_chart import front_chart
from nas_client.report.searches import architecture_picture
from nas_client.selection.candidates import Candidate
from nas_client.selection.outcome import SelectionResult


def selection_section(run: SelectionRun, index: int) -> Section:
    """`index` numbers the selections of a page."""
    name = f"selection{index}"
    return Section(name, "Selection" if run.name == "." else f"Selection ({run.name})", list(_blocks(run, name)))


def _blocks(run: SelectionRun, name: str) -> Iterator[Block]:
    result = run.result
    if result is None or not result.chosen:
        yield Text(f"The selection has not ended; {len(run.candidates)} candidates are evaluated so far.")
    else:
        yield _chosen(result)
        yield Text(_summary(result))
        for warning in result.warnings:
            yield Text(f"Warning: {warning}")
        chart = front_chart(run.candidates, result.front, list(result.chosen.values()), name)
        yield Picture(chart, "Every candidate, the front, and the chosen networks (larger points).", wide=True)
        yield Grid(_HEADINGS, [_row("", candidate) for candidate in result.front], "The front.", numbers=2, folded=True)
        if result.trained:
            rows = [_row("", candidate) for candidate in sorted(result.trained, key=lambda c: -(c.trained or 0))]
            yield Grid(_HEADINGS, rows, "All networks that were trained shortly.", numbers=2, folded=True)
        for place, (goal, candidate) in enumerate(result.chosen.items()):
            yield architecture_picture(candidate.architecture, f"{result.role}, {goal}", f"{name}-chosen-{place}")
    yield Fold("Configuration of the selection", run.config)


_HEADINGS = ("goal", "network", "estimate (ms)", "± (ms)", "mIoU in the supernet (%)", "after a short training (%)")


def _row(goal: str, candidate: Candidate) -> tuple[str, ...]:
    return (
        goal,
        candidate.alternative or "all",
        milliseconds(candidate.latency_ms),
        milliseconds(candidate.stderr_ms),
        percent(candidate.accuracy, 2),
        percent(candidate.trained, 2),
    )


def _chosen(result: SelectionResult) -> Grid:
    rows = [_row(goal, candidate) for goal, candidate in result.chosen.items()]
    caption = (
        f"Networks chosen by the latencies of {result.target}. mIoU is that on the images of selection, on which no weights "
        f"were trained. A target is met with {result.sigmas:g} standard errors of the estimate."
    )
    return Grid(_HEADINGS, rows, caption, numbers=2)


def _summary(result: SelectionResult) -> str:
    correlation = NONE if result.rank_correlation is None else f"{result.rank_correlation:.2f}"
    known = f", {result.known} were taken over from the search's own selection" if result.known else ""
    checked = f" Rank correlation of the supernet with {len(result.trained)} short trainings: {correlation}."
    return f"{result.evaluated} candidates were evaluated{known}.{checked if result.trained else ''}"
