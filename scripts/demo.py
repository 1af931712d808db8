"""The whole job on this machine: a service measures, and a client that speaks only HTTP pulls, computes and validates.

Everything here is a command that a user could type; this script only starts them in order and sums up what they wrote.
Run again, it reuses what is measured. Results: build/demo/.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from demo_steps import CONSOLE, client, service, step
from rich.table import Table

from models.spaces.registry import create_space
from models.spec.architectures import SpaceSpec
from models.terminal import parse_size


def main() -> int:
    """Run the demo; 0 when every step succeeded."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--space", default="fasterseg")
    parser.add_argument("--input-size", default="128x256")
    parser.add_argument("--budget", default="quick", choices=("quick", "normal", "thorough"))
    parser.add_argument("--architectures", type=int, default=40)
    parser.add_argument("--output", type=Path, default=Path("build/demo"))
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    with service(options.output) as url:
        results = run_client(options, url)
    sum_up(options, results, time.monotonic() - started)
    return 0


def run_client(options: argparse.Namespace, url: str) -> dict[str, Any]:
    """The client's steps; the JSON document of each."""
    table = options.output / "table.parquet"
    parameters, architecture = options.output / "parameters.json", options.output / "architecture.json"
    space = ["--space", options.space, "--input-size", options.input_size]
    write_inputs(parameters, architecture, options.space, options.input_size)
    step(f"measuring every operator of {options.space} at {options.input_size}")
    results = {"profile": client("profile", "--url", url, *space, "--budget", options.budget)}
    step("pulling the table")
    results["pull"] = client("pull", "--url", url, "--table", results["profile"]["table_id"], "-o", table)
    step("sensitivity, weights and the decoupled loss of a random supernet")
    results["sensitivity"] = client("sensitivity", "--table", table)
    weights = ",".join(str(weight) for weight in results["sensitivity"]["weights"])
    results["loss"] = client("loss", "--table", table, "--parameters", parameters, "--weights", weights, "--repeat", 50)
    step("estimating one architecture")
    results["estimate"] = client("estimate", "--table", table, "--architecture", architecture)
    step(f"estimating {options.architectures} random networks, and having them measured")
    results["validate"] = client(
        *["validate", "--url", url, *space, "--architectures", options.architectures],
        *["--budget", options.budget, "-o", options.output],
    )
    return results


def write_inputs(parameters: Path, architecture: Path, name: str, input_size: str) -> None:
    """Seeded random logits of α, β, γ, and a random architecture."""
    rng = np.random.default_rng(0)
    space = create_space(SpaceSpec(name=name, input_size=parse_size(input_size)))
    logits = {
        granularity: {group: rng.standard_normal(shape).tolist() for group, shape in groups.items()}
        for granularity, groups in space.parameter_shapes().items()
    }
    parameters.write_text(json.dumps(logits))
    architecture.write_text(space.sample(rng).model_dump_json())


def sum_up(options: argparse.Namespace, results: dict[str, Any], seconds: float) -> None:
    """The closing summary."""
    validation, loss, sensitivity = results["validate"], results["loss"], results["sensitivity"]
    table = Table(title="Estimated against measured latency", title_justify="left")
    for heading in ("estimate", "Pearson (95 % interval)", "mean error", "worst", "within 5 %"):
        table.add_column(heading)
    for name, title in (("raw", "sum of table entries"), ("calibrated", "calibrated sum"), ("macs", "multiply-adds")):
        row = validation[name]
        low, high = row["pearson_ci95"]
        table.add_row(
            title,
            f"{row['pearson']:.4f} ({low:.4f} to {high:.4f})",
            f"{row['mape']:.1%}",
            f"{row['worst_error']:.1%}",
            f"{row['within_5']:.0%}",
        )
    counts = results["profile"]["counts"]
    CONSOLE.print()
    CONSOLE.print(f"{counts['measured']} operators measured, {counts['reused']} reused, {counts['failed']} failed.")
    CONSOLE.print(table)
    CONSOLE.print(f"The verdict on this validation is {validation['verdict']['level']}.")
    for reason in validation["verdict"]["reasons"]:
        CONSOLE.print(f"  {reason['text']}", markup=False)
    CONSOLE.print(f"The networks' own rounds lie {validation['repeatability']:.1%} apart (median).")
    w1, w2, w3 = sensitivity["weights"]
    CONSOLE.print(
        f"Sensitivity: operator {sensitivity['operator_ms']:.2f}, downsampling {sensitivity['downsample_ms']:.2f}, "
        f"expansion {sensitivity['expansion_ms']:.2f} ms; balanced weights {w1:.4f}, {w2:.4f}, {w3:.4f}."
    )
    CONSOLE.print(
        f"One random architecture: {results['estimate']['sum_ms']:.2f} ms, the sum of "
        f"{len(results['estimate']['operators'])} entries (architecture.json)."
    )
    CONSOLE.print(
        f"Decoupled loss of a random supernet: {loss['weighted_ms']:.4f} ms, {loss['step_ms']:.2f} ms per step "
        f"(forward and backward)."
    )
    CONSOLE.print(f"Everything is in {options.output}/ (table, validation.json, points, plots). {seconds:.0f} s in all.")


if __name__ == "__main__":
    sys.exit(main())
