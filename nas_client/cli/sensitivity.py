"""`sensitivity`: how much each granularity decides, and the weights that balance them."""

from __future__ import annotations

from rich.console import Console

from models.terminal import Json, Require, emit, end_unless, warn
from nas_client.cli.options import TableSource, load_table


def sensitivity(table: TableSource, require: Require = None, json: Json = False) -> None:
    """The gap between the slowest and the fastest choice of operators, downsampling and expansion, and balanced weights."""
    from nas_client.latency.coefficients import coefficients_of
    from nas_client.latency.sensitivity import sensitivity as gaps_of
    from nas_client.latency.weights import solve_weights

    found = load_table(table)
    gaps = gaps_of(coefficients_of(found))
    weights = solve_weights(gaps)

    def show(console: Console) -> None:
        console.print(found.label(), markup=False)
        for name, gap, weight in (
            ("operators", gaps.operator_ms, weights.operator),
            ("downsampling", gaps.downsample_ms, weights.downsample),
            ("expansion", gaps.expansion_ms, weights.expansion),
        ):
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
