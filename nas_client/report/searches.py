"""A search as part of the page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from models.networks.module import network_costs
from models.spaces.registry import space_of
from nas_client.drawing.picture import draw_architecture
from nas_client.report import curves
from nas_client.report.blocks import Block, Fold, Grid, Section, Text, drawn
from nas_client.report.folder import SearchRun
from nas_client.report.numbers import millions, milliseconds, percent
from nas_client.search.branches import branches_label
from nas_client.search.epochs import SearchEpoch


def search_section(run: SearchRun, index: int) -> Section:
    """Its curves, and the networks it found. `index` tells several searches apart."""
    name = f"search{index}"
    title = "Search" if run.name == "." else f"Search ({run.name})"
    return Section(name, title, list(_blocks(run, name)))


def _blocks(run: SearchRun, name: str) -> Iterator[Block]:
    if not run.epochs:
        yield Text("No epoch has ended yet.")
    else:
        yield from _epochs(run.epochs, name)
        yield from _found(run.epochs[-1], name)
    if run.config is not None:
        yield Fold("Configuration of the search", run.config)


def _epochs(epochs: Sequence[SearchEpoch], name: str) -> Iterator[Block]:
    pretraining = curves.pretraining(epochs)
    seconds = sum(epoch.seconds for epoch in epochs)
    shares = [epoch.latency_share for epoch in epochs if epoch.latency_share is not None]
    share = f" The latency loss took {percent(max(shares), 2)} % of a step's time at the most." if shares else ""
    yield Text(
        f"{pretraining} epochs of pre-training and {len(epochs) - pretraining} of search, {seconds / 60:.1f} minutes.{share} "
        "A dashed line stands where the search began."
    )
    yield drawn(curves.losses(epochs), f"{name}-losses", "Losses: means over each epoch.")
    if any(epoch.latency is not None for epoch in epochs):
        yield drawn(
            curves.latencies(epochs),
            f"{name}-latency",
            "Latency of the student's supernet: each granularity free with the others fixed, and all free.",
        )
    if any(epoch.mean_iou for epoch in epochs):
        yield drawn(curves.accuracies(epochs), f"{name}-miou", "mIoU of the supernet on the validation images, by branches.")
    if any(epoch.entropy for epoch in epochs):
        yield drawn(curves.entropies(epochs), f"{name}-entropy", "Mean entropy of the choices: 0 where all are certain.")
    for role in dict.fromkeys(role for epoch in epochs for role in epoch.decoded):
        caption = (
            f"What the {role} would decode to: estimated latency, share of skips among its cells' most probable operators, "
        )
        yield drawn(curves.decoded(epochs, role), f"{name}-decoded-{role}", f"{caption}and share of the narrowest width.")


def _found(last: SearchEpoch, name: str) -> Iterator[Block]:
    """What the last epoch decodes to: the table of all branches, and each drawn."""
    rows = []
    for role, networks in last.decoded.items():
        for network in networks:
            costs = network_costs(space_of(network.architecture).plan(network.architecture))
            branches = branches_label(network.branches)
            rows.append(
                (
                    role,
                    branches or "all",
                    milliseconds(network.estimate_ms),
                    millions(costs.macs),
                    millions(costs.parameters),
                    percent(last.mean_iou.get(role, {}).get(branches)),
                )
            )
    headings = ("role", "branches", "estimate (ms)", "multiply-adds (M)", "parameters (M)", "mIoU of the supernet (%)")
    if rows:
        yield Grid(headings, rows, "What the last epoch decodes to.", numbers=2)
    for role, networks in last.decoded.items():
        for index, network in enumerate(networks):
            ends = branches_label(network.branches)
            title = f"{role}, branches {ends}" if ends else role
            figure = draw_architecture(network.architecture, title=title)
            caption = f"The {role} with branches {ends}, {milliseconds(network.estimate_ms)} ms by the table."
            yield drawn(figure, f"{name}-{role}-{index}", caption, wide=True)
