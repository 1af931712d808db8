"""A search as part of the page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from models.spaces.registry import space_class, space_of
from models.spec.architectures import ArchitectureSpec
from nas_client.drawing.picture import draw_architecture
from nas_client.report import curves
from nas_client.report.blocks import NONE, Block, Fold, Grid, Section, Text, drawn, millions, milliseconds, percent
from nas_client.report.folder import SearchRun
from nas_client.search.epochs import SearchEpoch
from nas_client.search.outcome import SearchResult


def search_section(run: SearchRun, index: int) -> Section:
    """Its curves, and the networks it found. `index` numbers the searches of a page."""
    name = f"search{index}"
    title = "Search" if run.name == "." else f"Search ({run.name})"
    return Section(name, title, list(_blocks(run, name)))


def _blocks(run: SearchRun, name: str) -> Iterator[Block]:
    if not run.epochs:
        yield Text("No epoch has ended yet.")
    elif not run.epochs[-1].decoded:
        yield Text("The supernet was trained for ranking, path by path. The selection from it follows.")
    elif run.result is not None:
        yield from _found(run.result, name)
    else:
        yield from _would_find(run.epochs[-1], name)
    if run.epochs and run.epochs[-1].decoded:
        yield from _epochs(run.epochs, name)
    elif run.epochs:
        caption = "Losses of the supernet: means over the networks of each step, and over each epoch."
        yield drawn(curves.losses(run.epochs), f"{name}-losses", caption)
    yield Fold("Configuration of the search", run.config)


def _epochs(epochs: Sequence[SearchEpoch], name: str) -> Iterator[Block]:
    pretraining, labels = curves.pretraining(epochs), _labels(epochs[-1])
    seconds = sum(epoch.seconds for epoch in epochs)
    shares = [epoch.latency_share for epoch in epochs if epoch.latency_share is not None]
    share = f" The latency loss took {percent(max(shares), 2)} % of a step's time at the most." if shares else ""
    yield Text(
        f"{pretraining} epochs of pre-training and {len(epochs) - pretraining} of search, {seconds / 60:.1f} minutes.{share} "
        "A dashed line stands where the search began."
    )
    yield drawn(curves.losses(epochs), f"{name}-losses", "Losses: means over each epoch.")
    caption = "Latency of the student's supernet: each granularity free with the others fixed, and all free."
    yield drawn(curves.latencies(epochs, labels), f"{name}-latency", caption)
    if any(epoch.mean_iou for epoch in epochs):
        yield drawn(curves.accuracies(epochs), f"{name}-miou", "mIoU of the supernet on the validation images, by alternative.")
    yield drawn(curves.entropies(epochs, labels), f"{name}-entropy", "Mean entropy of the choices: 0 where all are certain.")
    for role in dict.fromkeys(role for epoch in epochs for role in epoch.decoded):
        caption = (
            f"What the {role} would decode to: estimated latency, share of skips among its cells' most probable operators, "
        )
        yield drawn(curves.decoded(epochs, role), f"{name}-decoded-{role}", f"{caption}and share of the narrowest width.")


def _labels(epoch: SearchEpoch) -> dict[str, str]:
    """What is chosen, by granularity that the searched space has."""
    architectures = (network.architecture for networks in epoch.decoded.values() for network in networks)
    known = {granularity for of_role in epoch.entropy.values() for granularity in of_role}
    labels = space_class(next(architectures).space).granularity_labels
    return {granularity: label for granularity, label in labels.items() if granularity in known}


def _found(result: SearchResult, name: str) -> Iterator[Block]:
    """The candidates, which of them are taken, and these drawn."""
    rows = [
        (
            role,
            candidate.alternative or "all",
            milliseconds(candidate.estimate_ms),
            millions(candidate.macs),
            millions(candidate.parameters),
            percent(candidate.accuracy),
            NONE if candidate.objective is None else f"{candidate.objective:.4f}",
            "taken" if candidate.alternative == result.chosen[role] else "",
        )
        for role, candidates in result.candidates.items()
        for candidate in candidates
    ]
    label = space_class(next(iter(result.candidates.values()))[0].architecture.space).alternatives_label
    headings = ("role", label, "estimate (ms)", "multiply-adds (M)", "parameters (M)", "mIoU (%)", "objective", "")
    unfinished = "" if result.finished else " The search was stopped before its end."
    caption = f"What the search found. mIoU is the supernet's, before any training; the objective is ACC·(LAT/T)^w.{unfinished}"
    yield Grid(headings, rows, caption, numbers=2)
    for role in result.candidates:
        yield architecture_picture(result.architecture(role), role, f"{name}-{role}")


def _would_find(last: SearchEpoch, name: str) -> Iterator[Block]:
    """What the parameters stand for after the last epoch so far."""
    yield Text("The search has not ended. After its last epoch so far it would decode to:")
    for role, networks in last.decoded.items():
        for index, network in enumerate(networks):
            yield architecture_picture(network.architecture, role, f"{name}-{role}-{index}")


def architecture_picture(architecture: ArchitectureSpec, called: str, name: str) -> Block:
    """The architecture drawn."""
    space = space_of(architecture)
    alternative = space.alternative_of(architecture)
    title = f"{called}, {space.alternatives_label} {alternative}" if alternative else called
    return drawn(draw_architecture(architecture, title=title), name, f"{title}: {architecture.label()}.", wide=True)
