"""`loss` and `sensitivity`: the terms of the decoupled latency, and how much each granularity decides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from models.spaces.base import LETTERS
from models.terminal import Json, Require, emit, end_unless, warn
from nas_client.cli.arguments import TableSource, load_table
from nas_client.search.epochs import TERMS

if TYPE_CHECKING:
    from models.spaces.base import SearchSpace


class Width(StrEnum):
    """How widths are relaxed."""

    EXPECTED = "expected"
    GUMBEL = "gumbel"


def loss(
    table: TableSource,
    parameters: Annotated[Path, typer.Option(metavar="P", help="File with the logits of α, β and γ.")],
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="W1,W2,W3",
            help="Weights of the terms of α, β and γ, or `solved`: those that balance this table's "
            "sensitivities. By default the search space's own.",
        ),
    ] = None,
    width: Annotated[Width, typer.Option(help="Relax widths by expectation, or by one Gumbel sample.")] = Width.EXPECTED,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of the Gumbel sample; by default 0.")] = None,
    repeat: Annotated[int, typer.Option(min=0, metavar="N", help="Also time N training steps, forward and backward.")] = 0,
    require: Require = None,
    json: Json = False,
) -> None:
    """Compute the three terms of the decoupled latency, their weighted sum, and the relaxed latency. All in milliseconds."""
    if seed is not None and width is not Width.GUMBEL:
        raise typer.BadParameter("--seed belongs to --width gumbel, which is not given")
    from models.spaces.registry import create_space
    from nas_client.cli import latency_options
    from nas_client.latency.coefficients import coefficients_of

    latencies = load_table(table)
    space = create_space(latencies.info.space)
    coefficients = coefficients_of(latencies)
    chosen = latency_options.weights_of(weights, coefficients, space.search_defaults.latency)
    logits = latency_options.read_parameters(parameters, space)
    gumbel_seed = (seed or 0) if width is Width.GUMBEL else None
    found = latency_options.evaluate_loss(coefficients, logits, chosen, gumbel_seed=gumbel_seed, repeat=repeat)
    document: dict[str, object] = {
        "operator_ms": found.operator_ms,
        "downsample_ms": found.downsample_ms,
        "expansion_ms": found.expansion_ms,
        "weighted_ms": found.weighted_ms,
        "weights": list(found.weights),
        "relaxed_ms": found.relaxed_ms,
        "verdict": latencies.verdict.model_dump(mode="json"),
    }
    if found.step_ms is not None:
        document["step_ms"] = found.step_ms
    emit(document, as_json=json, text=lambda console: _show(console, space, document, found.weights))
    warn(latencies.verdict, latencies.label())
    end_unless(latencies.verdict, require)


def _show(console: Console, space: SearchSpace, document: dict[str, object], weights: Sequence[float]) -> None:
    shapes = space.parameter_shapes()
    names = {
        field: f"{space.granularity_labels[granularity]} free ({LETTERS[granularity]})"
        for granularity, field in TERMS.items()
        if shapes.get(granularity)
    }
    names |= {"weighted_ms": "weighted sum", "relaxed_ms": "all free (relaxed)", "step_ms": "one step, forward and backward"}
    for key, name in names.items():
        if key in document:
            console.print(f"{name:32}{document[key]:12.6f} ms")
    console.print(f"{'weights':32}{','.join(f'{weight:.6g}' for weight in weights)}")


def sensitivity(table: TableSource, require: Require = None, json: Json = False) -> None:
    """Compute how much latency each granularity decides, from slowest to fastest choice, and the weights that balance them."""
    from models.spaces.registry import space_class
    from nas_client.latency.coefficients import coefficients_of
    from nas_client.latency.sensitivity import sensitivity as gaps_of
    from nas_client.latency.sensitivity import solve_weights

    found = load_table(table)
    gaps = gaps_of(coefficients_of(found))
    weights = solve_weights(gaps)
    labels = space_class(found.info.space.name).granularity_labels

    def show(console: Console) -> None:
        console.print(found.label(), markup=False)
        for granularity, gap, weight in zip(TERMS, astuple(gaps), weights, strict=True):
            name = labels[granularity]
            console.print(f"{name:14}{'nothing to choose' if gap is None else f'{gap:10.4f} ms'}   weight {weight:.6f}")

    document = {
        "operator_ms": gaps.operator_ms,
        "downsample_ms": gaps.downsample_ms,
        "expansion_ms": gaps.expansion_ms,
        "weights": list(weights),
        "verdict": found.verdict.model_dump(mode="json"),
    }
    emit(document, as_json=json, text=show)
    warn(found.verdict, found.label())
    end_unless(found.verdict, require)
