"""What the comparison with reference networks shows: all networks side by side."""

from __future__ import annotations

import matplotlib as mpl
from matplotlib.figure import Figure

from nas_client.experiments.experiment import Experiment, Plot, Rows
from nas_client.experiments.reference_networks import ReferencesResult
from nas_client.plotting import INK, MUTED, SERIES, STYLE


def reference_rows(result: ReferencesResult) -> Rows:
    """One row for each network, those that were found first."""
    headings = ("network", "mIoU (%)", "loss", "latency (ms)", "multiply-adds (G)", "parameters (M)")
    rows = [
        (
            network.name,
            network.mean_iou.text(2, factor=100),
            network.loss.text(4),
            "–" if network.speed is None else f"{network.speed.latency_ms:.3f}",
            f"{network.macs / 1e9:#.4g}",
            f"{network.parameters / 1e6:#.4g}",
        )
        for network in result.networks
    ]
    return [headings, *rows]


def references_sentence(result: ReferencesResult) -> str:
    """What was compared, and where latencies are from."""
    targets = {network.speed.target for network in result.networks if network.speed is not None}
    missing = sorted({network.speed_missing for network in result.networks if network.speed is None})
    where = f" Latencies were measured on {' and '.join(sorted(targets))}." if targets else ""
    why = f" Not measured: {'; '.join(missing)}." if missing else ""
    return f"{result.space}: {len(result.seeds)} trainings of each network on {result.config.data.name}.{where}{why}"


def plot_references(result: ReferencesResult) -> Figure:
    """The mIoU of every training against the measured latency; against multiply-adds where one was not measured."""
    measured = all(network.speed is not None for network in result.networks)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(5.2, 3.6), layout="constrained")
        axes = figure.subplots()
        for network in result.networks:
            x = network.speed.latency_ms if measured and network.speed is not None else network.macs / 1e9
            ious = [100 * value for value in network.mean_iou.values]
            marker, colour = ("*", SERIES[1]) if network.found else ("o", MUTED)
            axes.scatter([x] * len(ious), ious, s=42, marker=marker, color=colour, linewidths=0)
            axes.annotate(network.name, (x, max(ious)), (4, 4), textcoords="offset points", color=INK, fontsize=8)
        axes.set(xlabel="measured latency (ms)" if measured else "multiply-adds (G)", ylabel="mIoU after training (%)")
        axes.margins(0.18)
    return figure


REFERENCES = Experiment(
    name="references",
    title="found against reference networks",
    result=ReferencesResult,
    words=references_sentence,
    rows=reference_rows,
    caption="After the last epoch of equal trainings: mean ± standard deviation over seeds.",
    plots=(Plot("references", plot_references, "Every training; stars: networks that were found."),),
)
