"""What the experiment on methods shows: paired differences, all points, the answer in words, and what it would cost."""

from __future__ import annotations

import matplotlib as mpl
from matplotlib.figure import Figure

from nas_client.experiments.experiment import Experiment, Plot, Points, Rows
from nas_client.experiments.method_config import RANDOM
from nas_client.experiments.method_costs import Estimate
from nas_client.experiments.methods import MethodDifference, MethodsResult
from nas_client.plotting import INK, MUTED, SERIES, STYLE

NAMES = {
    "evolution": "evolution",
    "gradient": "gradients",
    "best_of": "best of N",
    "earliest": "earliest",
    RANDOM: "random",
}
"""What methods and baselines are called. Best of N: of short trainings; earliest: random, but it downsamples earliest."""

_SUBJECTS = {
    "evolution": "The search by evolution",
    "gradient": "The search by gradients",
    "best_of": "The best of N short trainings",
    "earliest": "The network that downsamples earliest",
}
_VERDICTS = {"above": "above", "below": "below", "undecided": "not above"}


def difference_rows(result: MethodsResult) -> Rows:
    """Every method against every baseline, in points of mIoU: mean of the paired differences ± its standard error, its 95 %
    interval over n seeds, and the standard deviation of trainings of one network. Above: by more than twice the standard error.
    """
    headings = ("method", "against", "ms", "n", "difference", "95 % interval", "noise", "verdict")
    noise = f"{100 * result.noise.deviation:.2f}"
    rows = []
    for one in result.differences:
        found = one.difference
        head = (NAMES[one.method], NAMES[one.baseline], "all" if one.target_ms is None else f"{one.target_ms:g}")
        difference = "" if found is None else f"{100 * found.mean:+.2f}"
        interval = ""
        if found is not None and found.stderr is not None and found.interval is not None:
            difference += f" ± {100 * found.stderr:.2f}"
            interval = " to ".join(f"{100 * end:+.1f}" for end in found.interval)
        rows.append((*head, str(len(one.seeds)), difference, interval, noise, _verdict(one)))
    return [headings, *rows]


def point_rows(result: MethodsResult) -> Rows:
    """Every network that was compared."""
    headings = ("seed", "target_ms", "method", "met", "estimate_ms", "mean_iou", "macs", "parameters", "architecture", "run")
    rows = [
        (
            str(point.seed),
            f"{point.target_ms:g}",
            point.method,
            "yes" if point.met else "no",
            f"{point.network.estimate_ms:.6g}",
            f"{point.network.mean_iou:.6f}",
            str(point.network.macs),
            str(point.network.parameters),
            point.network.architecture,
            point.network.name,
        )
        for point in result.points
    ]
    return [headings, *rows]


def methods_sentence(result: MethodsResult) -> str:
    """The answer over all targets, in words: each method against random networks, and against the best of short trainings."""
    noise = result.noise
    lines = [
        f"Of the median random network's latency {result.budget_share:.0%} differs between networks. Trainings of one network "
        f"differ by {100 * noise.deviation:.2f} points (standard deviation; {noise.freedom} degrees of freedom)."
    ]
    against = {RANDOM: "the median of its seed's random networks", "best_of": "the best of the short trainings"}
    for one in result.differences:
        if one.target_ms is not None or one.baseline not in against:
            continue
        name, baseline = _SUBJECTS[one.method], against[one.baseline]
        if one.missed:
            lines.append(f"{name} missed a target for {one.missed} of {len(result.seeds)} seeds, which are left out.")
        if one.difference is None:
            lines.append(f"{name} is not compared with {baseline}.")
            continue
        gain, stderr = 100 * one.difference.mean, one.difference.stderr
        if stderr is None:
            lines.append(f"{name} has {gain:+.2f} points against {baseline}; one seed tells nothing.")
            continue
        words = {"above": "is above", "below": "is below", "undecided": "is not above"}[one.difference.verdict]
        lines.append(
            f"{name} {words} {baseline} by twice the standard error: {gain:+.2f} ± {100 * stderr:.2f} points, "
            f"{len(one.seeds)} seeds."
        )
    return " ".join(lines)


def _verdict(one: MethodDifference) -> str:
    if one.difference is None:
        return "missed"
    return "one seed" if one.difference.stderr is None else _VERDICTS[one.difference.verdict]


def estimate_rows(estimate: Estimate) -> Rows:
    """Minutes of what is to be done, in one process; the last row is the whole, with the processes asked for."""
    rows = [(name, str(estimate.runs[name]), f"{minutes:.1f}") for name, minutes in estimate.minutes.items()]
    total = "all", str(sum(estimate.runs.values())), f"{estimate.total_minutes:.1f}"
    return [("what", "runs", "minutes"), *rows, total]


def plot_methods(result: MethodsResult) -> Figure:
    """Left every network: mIoU against its estimate. Right the differences over all targets: each seed, mean and interval."""
    names = [name for name in NAMES if name in result.scores]
    colours = {name: MUTED if name == RANDOM else SERIES[index] for index, name in enumerate(names)}
    shown = [one for one in result.differences if one.target_ms is None and one.difference is not None]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.6, max(3.4, 1.2 + 0.36 * len(shown))), layout="constrained")
        points, differences = figure.subplots(1, 2)
        for name in sorted(names, key=lambda name: name != RANDOM):
            found = [point for point in result.points if point.method == name]
            x, y = [p.network.estimate_ms for p in found], [100 * p.network.mean_iou for p in found]
            size, mark = (18, "o") if name == RANDOM else (46, "*")
            points.scatter(x, y, s=size, marker=mark, color=colours[name], linewidths=0, label=NAMES[name])
        points.set(xlabel="estimated latency (ms)", ylabel="mIoU after training (%)")
        points.legend(fontsize=8)
        points.margins(0.1)
        for place, one in enumerate(shown):
            assert one.difference is not None
            values, colour = [100 * value for value in one.difference.values], colours[one.method]
            differences.scatter(values, [place] * len(values), s=16, color=colour, alpha=0.6, linewidths=0)
            differences.scatter([100 * one.difference.mean], [place], s=40, marker="D", color=colour, zorder=3)
            if one.difference.interval is not None:
                differences.plot([100 * end for end in one.difference.interval], [place] * 2, color=colour, linewidth=1.6)
        differences.axvline(0, color=INK, linewidth=0.8)
        noise = 100 * result.noise.deviation
        differences.axvspan(-noise, noise, color=MUTED, alpha=0.12, linewidth=0, label="training noise, ± 1 deviation")
        labels = [f"{NAMES[one.method]} − {NAMES[one.baseline]}" for one in shown]
        differences.set_yticks(range(len(shown)), labels, fontsize=8)
        differences.invert_yaxis()
        differences.set(xlabel="difference of mIoU (points)")
        differences.legend(fontsize=8)
    return figure


METHODS = Experiment(
    name="methods",
    title="methods",
    result=MethodsResult,
    words=methods_sentence,
    rows=difference_rows,
    caption="Paired differences of mIoU over seeds, after the last epoch of equal trainings.",
    plots=(Plot("methods", plot_methods, "Left: every network trained. Right: each seed, mean, 95 % interval."),),
    points=Points(point_rows, labels=3, in_file=True),
)
