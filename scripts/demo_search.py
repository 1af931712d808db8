"""A whole search on this machine: table, co-search, two trained networks, and the student's latency as measured.

Everything here is a command that a user could type; this script only starts them in order and sums up what they wrote. Run
again, it reuses what is measured, and goes on with a search or training that was stopped. Results: build/demo-search/.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from demo_steps import CONSOLE, SearchSteps, quick, service, step
from rich.table import Table

SPACE, SIZE = "fasterseg", "128x256"
PARAMETERS = {"layers": "6", "base_channels": "6", "widths": "4,8,12"}
"""A space small enough for two cores to search in minutes."""

DATA = {"image_size": [128, 256], "train_images": 320, "val_images": 60}
SEARCH: dict[str, Any] = {
    "data": DATA,
    "image_scale": 1.0,
    "label_stride": 8,
    "pretrain": {"epochs": 6, "batch_size": 8, "crop": [64, 128], "optimizer": {"lr": 0.05}},
    "search": {
        "epochs": 8,
        "batch_size": 8,
        "crop": [64, 128],
        "optimizer": {"lr": 0.05},
        "architecture": {"lr": 0.04},
    },
    "latency": {"weights": "solved"},
    "evaluation": {"every": 2, "images": 32, "batch_size": 8, "statistics_batches": 6},
}
TRAIN: dict[str, Any] = {
    "data": {**DATA, "cache": True},
    "crop": [96, 192],
    "label_stride": 8,
    "batch_size": 8,
    "epochs": 20,
    "optimizer": {"lr": 0.05},
    "validation": {"every": 5, "batch_size": 8, "statistics_batches": 10},
}


def main() -> int:
    """Run the demo; 0 when every step succeeded."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="an epoch of everything: to see it run, not to learn anything")
    parser.add_argument("--fresh", action="store_true", help="forget earlier searches and trainings; keep what is measured")
    parser.add_argument("--output", type=Path, default=Path("build/demo-search"))
    options = parser.parse_args()
    output = options.output
    output.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    with service(output) as url:
        steps = SearchSteps(output, url, SPACE, SIZE, PARAMETERS)
        if options.fresh:
            steps.forget("teacher", "student")
        steps.write_configs(*(quick(SEARCH, TRAIN) if options.quick else (SEARCH, TRAIN)))
        results = run_steps(steps)
    sum_up(output, results, time.monotonic() - started)
    return 0


def run_steps(steps: SearchSteps) -> dict[str, Any]:
    """The client's steps; the JSON document of each."""
    results: dict[str, Any] = {"profile": steps.profile(), "search": steps.search()}
    for role in ("student", "teacher"):
        results[f"derive_{role}"] = steps.derive(role, results["search"])
    step("training the teacher")
    results["train_teacher"] = steps.train("teacher")
    step("training the student, with distillation")
    results["train_student"] = steps.train("student", teacher="teacher")
    for role in ("teacher", "student"):
        results[f"evaluate_{role}"] = steps.evaluate(role)
    results["validate"] = steps.validate(results["profile"]["table_id"], 24, ("student", "teacher"))
    step("drawing")
    steps.run("draw", "--architecture", steps.architecture("student"), "-o", steps.output / "student.svg")
    steps.report("A search on generated street scenes")
    return results


def sum_up(output: Path, results: dict[str, Any], seconds: float) -> None:
    """The closing summary."""
    table = Table(title="Trained networks", title_justify="left")
    for heading in ("network", "branches", "estimate (ms)", "measured (ms)", "MACs (G)", "parameters (M)", "mIoU (%)", "FPS"):
        table.add_column(heading)
    named = dict(zip(("student", "teacher"), results["validate"]["named"], strict=True))
    for role in ("teacher", "student"):
        evaluated, network = results[f"evaluate_{role}"], named[role]
        table.add_row(
            role,
            results[f"derive_{role}"]["chosen"],
            f"{network['sum_ms']:.3f}",
            f"{network['measured_ms']:.3f}",
            f"{evaluated['costs']['macs'] / 1e9:.3f}",
            f"{evaluated['costs']['parameters'] / 1e6:.3f}",
            f"{100 * evaluated['metrics']['mean_iou']:.1f}",
            f"{1e3 / network['measured_ms']:.0f}",
        )
    CONSOLE.print()
    CONSOLE.print(table)
    student = named["student"]
    low, high = student["interval_ms"]
    CONSOLE.print(
        f"The student takes {student['measured_ms']:.3f} ms; the sum of its table entries is "
        f"{student['sum_ms'] / student['measured_ms'] - 1:+.1%} off, calibrated {student['calibrated_ms']:.3f} ms "
        f"({low:.3f} to {high:.3f})."
    )
    share = results["search"]["latency_share"]
    if share is not None:
        CONSOLE.print(f"The latency loss took {share:.2%} of the search steps' time.")
    CONSOLE.print(f"Everything is in {output}/; begin with report.html. {seconds:.0f} s in all.")


if __name__ == "__main__":
    sys.exit(main())
