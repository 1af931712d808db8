"""Folders of runs as the commands write them, with made-up numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from models.spaces.registry import create_space
from models.spec.architectures import ArchitectureSpec, SpaceSpec
from models.spec.base import Record
from nas_client.search.epochs import DecodedNetwork, SearchEpoch, SupernetLatency

SPACE = create_space(SpaceSpec(name="fasterseg", input_size=(64, 128), parameters={"layers": 6, "base_channels": 6}))


def write_lines(folder: Path, records: list[Record]) -> None:
    """A journal."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "epochs.jsonl").write_text("".join(record.model_dump_json() + "\n" for record in records))


def decoded(branches: tuple[int, ...], seed: int, *, widest: bool = False) -> ArchitectureSpec:
    """An architecture with those branches, the same for the same seed."""
    rng = np.random.default_rng(seed)
    probabilities = {
        granularity: {group: rng.dirichlet(np.ones(shape[1]), shape[0]) for group, shape in groups.items()}
        for granularity, groups in SPACE.parameter_shapes().items()
    }
    return SPACE.decode(probabilities, branches=branches, widest=widest)


def search_epoch(epoch: int, *, searching: bool = True) -> SearchEpoch:
    """Numbers that get better with the epoch."""
    roles = ("student", "teacher")
    pairs = SPACE.branch_choices()
    names = [f"{what}_{role}" for what in ("weights", *["architecture"] * searching) for role in roles]
    latency = SupernetLatency(
        operator_ms=9 - epoch, downsample_ms=6, expansion_ms=8 - epoch / 2, weighted_ms=6.1, relaxed_ms=7 - epoch
    )
    networks = {
        role: tuple(
            DecodedNetwork(
                branches=pair,
                estimate_ms=3 + 0.1 * epoch,
                skip_share=0.25,
                narrowest_share=0.5,
                architecture=decoded(pair, epoch, widest=role == "teacher"),
            )
            for pair in pairs
        )
        for role in roles
    }
    return SearchEpoch(
        phase="search" if searching else "pretrain",
        epoch=epoch,
        steps=10,
        seconds=30.0,
        losses=dict.fromkeys(names, 2.5 - 0.1 * epoch) | ({"latency": 0.01} if searching else {}),
        latency=latency if searching else None,
        latency_share=0.004 if searching else None,
        entropy={"student": {"alpha": 1.6, "beta": 0.6, "gamma": 1.5}, "teacher": {"alpha": 1.6, "beta": 0.6}}
        if searching
        else {},
        mean_iou={role: {",".join(map(str, pair)): 0.1 + 0.05 * epoch for pair in pairs} for role in roles},
        decoded=networks if searching else {},
    )


def write_search(folder: Path, *, pretraining: int = 1, searching: int = 2) -> list[SearchEpoch]:
    """What a search writes and a report reads; its epochs."""
    epochs = [search_epoch(epoch + 1, searching=False) for epoch in range(pretraining)]
    epochs += [search_epoch(epoch + 1) for epoch in range(searching)]
    write_lines(folder, list(epochs))
    (folder / "parameters-student.json").write_text("{}")
    (folder / "config.yaml").write_text("search:\n  epochs: 2\n")
    return epochs
