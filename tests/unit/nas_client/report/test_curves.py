"""Curves over epochs: what a reader sees of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from nas_client.report.curves import accuracies, decoded, panels
from nas_client.runs.journal import Journal, read_journal
from nas_client.search.epochs import SearchEpoch
from tests.support.run_samples import search_epoch


@pytest.mark.parametrize("epochs", [20, 60])
def test_a_curve_that_was_taken_at_some_epochs_is_a_line_through_them(epochs: int) -> None:
    curve = [float(epoch) if epoch % 10 == 0 else None for epoch in range(1, epochs + 1)]
    (axes,) = panels({"validation": {"student": curve}}, "mIoU (%)").axes
    (line,) = axes.lines
    assert list(line.get_xdata()) == list(line.get_ydata()) == list(range(10, epochs + 1, 10))
    assert line.get_linestyle() == "-"
    assert axes.get_xlim() == (0.5, epochs + 0.5), "all epochs, so that panels compare"


def test_a_curve_without_values_keeps_its_name_and_the_others_their_colours() -> None:
    (axes,) = panels({"mIoU": {"first": [None, None], "second": [1.0, 2.0]}}, "").axes
    (alone,) = panels({"mIoU": {"first": [1.0, 2.0]}}, "").axes
    legend = axes.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["first", "second"]
    assert axes.lines[1].get_color() != alone.lines[0].get_color()


def test_branches_have_the_same_colours_in_every_picture(tmp_path: Path) -> None:
    """A journal keeps names in the order of text: `16,32` before `8,16`."""
    with Journal(tmp_path) as journal:
        for epoch in range(2):
            journal.write(search_epoch(epoch))
    read = read_journal(tmp_path, SearchEpoch)
    pictures = [accuracies(read), decoded(read, "student")]
    colours = [{str(line.get_label()): line.get_color() for line in picture.axes[0].lines} for picture in pictures]
    assert list(colours[0]) == ["8,16", "8,32", "16,32"]
    assert colours[0] == colours[1]
