"""The curves of a search, epoch by epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from models.spaces.base import LETTERS
from nas_client.plotting import MUTED, SERIES, STYLE
from nas_client.search.epochs import TERMS, Decoded, SearchEpoch

Curve = Sequence[float | None]
"""One value per epoch; None where there is none, which the line passes over."""


def panels(curves: Mapping[str, Mapping[str, Curve]], unit: str, *, start: int = 0, from_zero: bool = False) -> Figure:
    """Curves over epochs, one panel beside another.

    Args:
        curves: by panel and name.
        unit: of all values, on the vertical axis.
        start: how many epochs came before the search began; a line is drawn there.
        from_zero: whether the vertical axes begin at zero.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(1.0 + 3.6 * len(curves), 3.1), layout="constrained")
        for axes, (title, named) in zip(np.atleast_1d(figure.subplots(1, len(curves))), curves.items(), strict=True):
            for colour, (name, curve) in zip(_colours(len(named)), named.items(), strict=True):
                _curve(axes, curve, name, colour)
            if start:
                axes.axvline(start + 0.5, color=MUTED, linewidth=0.8, dashes=(3, 3))
            axes.set(title=title, xlabel="epoch", ylabel=unit)
            axes.xaxis.get_major_locator().set_params(integer=True)
            axes.margins(y=0.12)
            axes.set_xlim(0.5, max(map(len, named.values()), default=1) + 0.5)
            if from_zero:
                axes.set_ylim(bottom=0)
            if len(named) > 1:
                axes.legend(fontsize=8, handlelength=1.2)
    return figure


def losses(epochs: Sequence[SearchEpoch]) -> Figure:
    """Every loss; those of weights, of architectures and of latency in panels of their own."""
    names = list(dict.fromkeys(name for epoch in epochs for name in epoch.losses))
    groups = list(dict.fromkeys(name.split("_")[0] for name in names))
    return panels(
        {
            group: {
                name.removeprefix(f"{group}_"): [epoch.losses.get(name) for epoch in epochs]
                for name in names
                if name.split("_")[0] == group
            }
            for group in groups
        },
        "loss",
        start=pretraining(epochs),
    )


def accuracies(epochs: Sequence[SearchEpoch]) -> Figure:
    """The supernet's mIoU by role and alternative, in per cent."""
    roles = list(dict.fromkeys(role for epoch in epochs for role in epoch.mean_iou))
    return panels(
        {
            role: {
                alternative: [_percent(epoch.mean_iou.get(role, {}).get(alternative)) for epoch in epochs]
                for alternative in _evaluated(epochs, role)
            }
            for role in roles
        },
        "mIoU (%)",
        start=pretraining(epochs),
        from_zero=True,
    )


def latencies(epochs: Sequence[SearchEpoch], labels: Mapping[str, str]) -> Figure:
    """Latency of the student's supernet: each granularity free alone, and all free. Labels of those that the space has."""
    fields = {f"{label} free": TERMS[granularity] for granularity, label in labels.items()} | {"all free": "relaxed_ms"}
    found = {name: [float(getattr(epoch.latency, field)) for epoch in epochs] for name, field in fields.items()}
    return panels({"supernet of the student": found}, "latency (ms)", start=pretraining(epochs))


def entropies(epochs: Sequence[SearchEpoch], labels: Mapping[str, str]) -> Figure:
    """Mean entropy of the choices by role and granularity. Labels of those that the space has."""
    roles = list(dict.fromkeys(role for epoch in epochs for role in epoch.entropy))
    return panels(
        {
            role: {
                f"{LETTERS[name]} ({labels[name]})": [epoch.entropy.get(role, {}).get(name) for epoch in epochs]
                for name in dict.fromkeys(key for epoch in epochs for key in epoch.entropy.get(role, {}))
            }
            for role in roles
        },
        "entropy (nats)",
        start=pretraining(epochs),
    )


def decoded(epochs: Sequence[SearchEpoch], role: str) -> Figure:
    """Of what that role would decode to: estimated latency, share of skips, share of the narrowest width."""
    there = _alternatives(epochs, role)
    values = {"estimate (ms)": "estimate_ms", "share of skips": "skip_share", "share of the narrowest": "narrowest_share"}
    return panels(
        {
            title: {alternative: [_of(_network(epoch, role, alternative), field) for epoch in epochs] for alternative in there}
            for title, field in values.items()
        },
        "",
        start=pretraining(epochs),
        from_zero=True,
    )


def pretraining(epochs: Sequence[SearchEpoch]) -> int:
    """How many of the epochs came before the search."""
    return sum(epoch.phase == "pretrain" for epoch in epochs)


def _network(epoch: SearchEpoch, role: str, alternative: str) -> Decoded | None:
    return next((network for network in epoch.decoded.get(role, ()) if network.alternative == alternative), None)


def _of(network: Decoded | None, field: str) -> float | None:
    return None if network is None else float(getattr(network, field))


def _percent(value: float | None) -> float | None:
    return None if value is None else 100 * value


def _alternatives(epochs: Sequence[SearchEpoch], role: str) -> list[str]:
    """Those that were decoded, in the space's order."""
    return list(dict.fromkeys(network.alternative for epoch in epochs for network in epoch.decoded.get(role, ())))


def _evaluated(epochs: Sequence[SearchEpoch], role: str) -> list[str]:
    """Those with an mIoU. A journal sorts them as text; in the order of `decoded` every picture gives them the same colours."""
    known = {alternative: None for epoch in epochs for alternative in epoch.mean_iou.get(role, {})}
    decoded_ones = [alternative for alternative in _alternatives(epochs, role) if alternative in known]
    return list(dict.fromkeys([*decoded_ones, *known]))


def _colours(count: int) -> Sequence[str]:
    return [SERIES[index % len(SERIES)] for index in range(count)]


def _curve(axes: Axes, curve: Curve, name: str, colour: str) -> None:
    there = [(epoch, value) for epoch, value in enumerate(curve, start=1) if value is not None]
    marker = "o" if len(there) <= 40 else None
    epochs, values = [epoch for epoch, _ in there], [value for _, value in there]
    axes.plot(epochs, values, color=colour, marker=marker, markersize=3, linewidth=1.4, label=name)
