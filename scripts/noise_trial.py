"""What a busy neighbour does to a table, and what the protocol corrects, against the same entries measured quietly.

    python scripts/noise_trial.py -o build/noise

Run it when the machine does nothing else. It measures the same operators quietly and beside bounded other work, in context and
isolated, and compares three values: in sentinel units, the same without the sentinel, and isolated.
"""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from models.spec.tables import Table
from models.spec.verdicts import table_verdict
from scripts.noise import noise
from scripts.trials import Trial, sampled

CONDITIONS: dict[str, tuple[str, float, float] | None] = {
    "quiet": None,
    "counting": ("cpu", 60.0, 0.0),
    "counting, on and off": ("cpu", 2.0, 2.0),
    "memory": ("memory", 60.0, 0.0),
    "memory, on and off": ("memory", 2.0, 2.0),
}
"""Other work on a core that the timing process does not use: its kind, seconds on, seconds off."""


def main() -> int:
    """Measure, compare, write and print."""
    options = _options()
    trial = Trial(options.output, input_size=options.input_size, sample=options.entries, budget=options.budget)
    trial.table("scale", sample=30)
    scale = trial.database("scale")
    truth = trial.table("truth", known=scale)
    truth_isolated = trial.table("truth-isolated", protocol="isolated")
    rows = []
    for number, (name, work) in enumerate(CONDITIONS.items()):
        with nullcontext() if work is None else noise([options.core], work[0], on_s=work[1], off_s=work[2], seconds=900):  # type: ignore[arg-type]
            table = trial.table(f"{number}-in-context", known=scale)
            isolated = trial.table(f"{number}-isolated", protocol="isolated")
        rows.append({"condition": name, **compare(table, isolated, truth, truth_isolated)})
        print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    (options.output / "noise.json").write_text(json.dumps(rows, indent=2) + "\n")
    plot(rows, options.output / "noise.png")
    print(json.dumps(rows, indent=2))
    return 0


def compare(table: Table, isolated: Table, truth: Table, truth_isolated: Table) -> dict[str, Any]:
    """Relative errors of each way of measuring, and what the table says of itself.

    Values in sentinel units are compared on the truth's scale, as tables of one target are.
    """
    scale = truth.info.scale.reference_ms / table.info.scale.reference_ms if truth.info.scale and table.info.scale else 1.0
    true = sampled(truth)
    found, alone, true_alone = (sampled(one) for one in (table, isolated, truth_isolated))
    keys = [key for key in true if key in found and key in alone and key in true_alone]

    def errors(pairs: list[tuple[float | None, float | None]]) -> dict[str, float]:
        relative = np.array([(mine or 0.0) / (right or 1.0) - 1 for mine, right in pairs])
        totals = np.array([[mine or 0.0, right or 0.0] for mine, right in pairs]).sum(axis=0)
        return {
            "median": float(np.median(np.abs(relative))),
            "p90": float(np.quantile(np.abs(relative), 0.9)),
            "sum": float(totals[0] / totals[1] - 1),
        }

    verdict = table_verdict(table)
    return {
        "in_context": errors([(scale * (found[key].value_ms or 0.0), true[key].value_ms) for key in keys]),
        "plain": errors([(found[key].plain_ms, true[key].plain_ms) for key in keys]),
        "isolated": errors([(alone[key].value_ms, true_alone[key].value_ms) for key in keys]),
        "entries": len(keys),
        "contaminated": sum("contaminated" in found[key].flags for key in keys) / len(keys),
        "verdict": verdict.level.value,
        "reasons": [reason.text for reason in verdict.reasons],
    }


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """The errors of the sum and of single entries, by condition and way of measuring."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    ways = {"in_context": "in context, sentinel units", "plain": "in context, plain", "isolated": "isolated"}
    figure, axes = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    places = np.arange(len(rows))
    for axis, measure, title in zip(axes, ("median", "sum"), ("error of one entry, median", "error of the sum"), strict=True):
        for index, (way, label) in enumerate(ways.items()):
            axis.bar(places + (index - 1) * 0.27, [100 * abs(row[way][measure]) for row in rows], 0.25, label=label)
        axis.axhline(3, color="gray", linewidth=1, linestyle="--")
        axis.set_xticks(places, [row["condition"] for row in rows], rotation=20, ha="right")
        axis.set_ylabel("%")
        axis.set_title(title)
    axes[0].legend(frameon=False)
    figure.savefig(path, dpi=120)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--entries", type=int, default=60, metavar="N")
    add("--input-size", default="128x256", metavar="HxW")
    add("--budget", default="quick", choices=["quick", "normal", "thorough"])
    add("--core", type=int, default=0, help="where the neighbour runs; engines are timed on the last core")
    add("-o", "--output", type=Path, default=Path("build/noise"), metavar="DIR")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
