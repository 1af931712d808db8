"""The layers of a network of somebody's own: on the terminal, as a CSV file, and as a plot."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table as Grid

from models.safe_text import safe_text
from models.spec.errors import InvalidSpecError
from models.spec.measurements import Status
from models.terminal import print_unwrapped

if TYPE_CHECKING:
    from profiler_service.jobs.own_layers import LayerMeasurement, LayersMeasurement
    from profiler_service.jobs.own_network import NetworkMeasurement

COLUMNS = (
    "position", "name", "label", "operators", "occurs", "status", "value_ms", "stderr_ms", "share", "cumulative_share",
    "base_ms", "plain_ms", "macs", "rounds", "samples", "flags", "message",
)  # fmt: skip
"""Of `layers.csv`. Shares are fractions of the sum; `occurs` counts the layers that are timed as this one."""


def show_layers(console: Console, found: NetworkMeasurement) -> None:
    """Print one line for each layer, then their sum beside the whole and what lies between them."""
    layers = found.layers
    if layers is None or found.value_ms is None:
        console.print(f"layers: none, since {found.no_layers}" if found.no_layers else "layers: none", markup=False)
        return
    grid = Grid(box=None, pad_edge=False)
    for index, heading in enumerate(("layer", "", "computes", "ms", "±", "share", "so far", "")):
        grid.add_column(heading, justify="right" if index in (0, 3, 4, 5, 6) else "left", no_wrap=True)
    for position, name, layer, share, so_far in _rows(layers):
        value = layer.status.value if layer.value_ms is None else f"{layer.value_ms:.4f}"
        error = "" if layer.stderr_ms is None else f"{layer.stderr_ms:.4f}"
        notes = [flag.value for flag in layer.flags]
        if layer.positions[0] != position:
            notes.insert(0, f"as {layer.positions[0]}")
        grid.add_row(str(position), name, layer.label, value, error, f"{share:.1%}", f"{so_far:.1%}", ", ".join(notes))
    print_unwrapped(console, grid)
    console.print(
        f"sum of {sum(layer.count for layer in layers.layers)} layers: {layers.sum_ms:.4f} ± {layers.sum_stderr_ms:.2g} ms"
    )
    if layers.difference_ms is not None:
        share = layers.sum_ms / found.value_ms if found.value_ms else 0.0
        console.print(
            f"whole: {found.value_ms:.4f} ms, {layers.difference_ms:+.4f} ms beside the sum, which is {share:.1%} of it"
        )
    for part in layers.explanation:
        amount = "unknown" if part.ms is None else f"{part.ms:.4f} ms"
        console.print(f"  {part.name}: {amount}: {part.text}", markup=False)
    if layers.not_divided:
        nodes, macs = sum(len(part.operators) for part in layers.not_divided), sum(part.macs for part in layers.not_divided)
        console.print(
            f"not divided: {nodes} of {layers.nodes} nodes, {macs / layers.macs if layers.macs else 0:.1%} of the multiply-adds"
        )
        for undivided in layers.not_divided:
            console.print(f"  {undivided.name} ({', '.join(undivided.operators)}): {undivided.why}", markup=False)
    for layer in layers.layers:
        if layer.status is not Status.OK:
            console.print(f"{layer.status.value}: {layer.names[0]}: {layer.message}", style="red", markup=False)


def require_plotting() -> None:
    """Raises InvalidSpecError where plots cannot be drawn."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise InvalidSpecError("--output draws a plot, which needs matplotlib", hint="pip install matplotlib") from error


def write_report(found: NetworkMeasurement, folder: Path) -> None:
    """Write `measurement.json` and, where there are layers, `layers.csv` and `layers.svg`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "measurement.json").write_text(found.model_dump_json(indent=1) + "\n")
    if found.layers is not None and found.layers.layers:
        (folder / "layers.csv").write_text(_csv(found.layers))
        _draw(found, found.layers, folder / "layers.svg")


def _rows(layers: LayersMeasurement) -> Iterator[tuple[int, str, LayerMeasurement, float, float]]:
    """Position, name, measurement, share and cumulative share of each layer, as they run."""
    ordered = layers.in_order()
    times_ms = [layer.value_ms or 0.0 for _, _, layer in ordered]
    total_ms = sum(times_ms) or 1.0
    for (position, name, layer), time_ms, so_far_ms in zip(ordered, times_ms, accumulate(times_ms), strict=True):
        yield position, name, layer, time_ms / total_ms, so_far_ms / total_ms


def _csv(layers: LayersMeasurement) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    for position, name, layer, share, so_far in _rows(layers):
        flags = " ".join(flag.value for flag in layer.flags)
        numbers = (layer.value_ms, layer.stderr_ms, share, so_far, layer.base_ms, layer.plain_ms, layer.macs)
        writer.writerow(
            [
                position,
                _cell(name),
                layer.label,
                "+".join(layer.operators),
                layer.count,
                layer.status.value,
                *numbers,
                layer.rounds,
                layer.samples,
                flags,
                _cell(layer.message),
            ]
        )
    return file.getvalue()


def _cell(text: str) -> str:
    """Text that no spreadsheet takes for a formula and no terminal for a command: names come from files."""
    text = safe_text(text)
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


def _draw(found: NetworkMeasurement, layers: LayersMeasurement, path: Path) -> None:
    """One bar for each layer, from top to bottom as they run, with its 95 % interval."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    from profiler_service.jobs.own_layers import NORMAL_95

    ordered = layers.in_order()
    times_ms = [layer.value_ms or 0.0 for _, _, layer in ordered]
    errors_ms = [NORMAL_95 * (layer.stderr_ms or 0.0) for _, _, layer in ordered]
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "layers", "font.size": 8, "text.parse_math": False}):
        figure = Figure(figsize=(9.0, 1.2 + 0.18 * len(ordered)), layout="constrained")
        axes = figure.subplots()
        axes.barh(range(len(ordered)), times_ms, xerr=errors_ms, color="#4477aa", ecolor="#444444", height=0.75)
        labels = [f"{position} {safe_text(name)}: {layer.label}" for position, name, layer in ordered]
        axes.set_yticks(range(len(ordered)), labels)
        axes.invert_yaxis()
        axes.margins(y=0.01)
        axes.set_xlim(left=0)
        axes.set_xlabel("milliseconds")
        axes.spines[["top", "right"]].set_visible(False)
        whole = "" if found.value_ms is None else f", whole {found.value_ms:.3g} ms"
        axes.set_title(f"{safe_text(found.network.label())}: sum {layers.sum_ms:.3g} ms{whole}", loc="left")
        figure.savefig(path, metadata={"Date": None})


__all__ = ["COLUMNS", "require_plotting", "show_layers", "write_report"]
