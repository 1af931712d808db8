"""A whole search on this machine: table, co-search, two trained networks, and the student's latency as measured.

Everything here is a command that a user could type; this script only starts them in order and sums up what they wrote. Run
again, it reuses what is measured, and goes on with a search or training that was stopped. Results: build/demo-search/.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import yaml
from demo_steps import CONSOLE, client, service, step
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
    for name in ("search", "teacher", "student") if options.fresh else ():
        shutil.rmtree(output / name, ignore_errors=True)
    started = time.monotonic()
    write_configs(output, quick=options.quick)
    with service(output) as url:
        results = run_steps(output, url)
    sum_up(output, results, time.monotonic() - started)
    return 0


def write_configs(output: Path, *, quick: bool) -> None:
    """`search.yaml` and `train.yaml`."""
    search, train = SEARCH, TRAIN
    if quick:
        few = {"train_images": 16, "val_images": 4}
        pretrain, searching = ({**SEARCH[phase], "epochs": 1} for phase in ("pretrain", "search"))
        search = {**SEARCH, "data": {**DATA, **few}, "pretrain": pretrain, "search": searching}
        train = {**TRAIN, "data": {**TRAIN["data"], **few}, "epochs": 1}
    for name, config in (("search", search), ("train", train)):
        (output / f"{name}.yaml").write_text(yaml.safe_dump(config, sort_keys=False))


def run_steps(output: Path, url: str) -> dict[str, Any]:
    """The client's steps; the JSON document of each."""
    results: dict[str, Any] = {}
    table = output / "table.parquet"
    parameters = [part for name, value in PARAMETERS.items() for part in ("--parameter", f"{name}={value}")]
    step(f"measuring every operator of a small {SPACE} space at {SIZE}")
    results["profile"] = client(
        *["profile", "--url", url, "--space", SPACE, "--input-size", SIZE, *parameters, "--budget", "quick"]
    )
    results["pull"] = client("pull", "--url", url, "--table", results["profile"]["table_id"], "-o", table)
    step("co-search of teacher and student")
    results["search"] = client(
        *["search", "--table", table, "--config", output / "search.yaml", "-o", output / "search", "--resume"]
    )
    for role in ("student", "teacher"):
        step(f"deriving the {role}")
        results[f"derive_{role}"] = derive(output, table, role, results["search"])
    for role in ("teacher", "student"):
        step(f"training the {role}" + (", with distillation" if role == "student" else ""))
        results[f"train_{role}"] = train(output, role)
    for role in ("teacher", "student"):
        step(f"evaluating the {role}")
        results[f"evaluate_{role}"] = client(
            *["evaluate", "--run", output / role, "--weights", "final", "--url", url, "--budget", "quick"],
            *["-o", output / "evaluation" / role],
        )
    step("measuring both networks beside random ones, and judging their estimates")
    own = [part for role in ("student", "teacher") for part in ("--architecture", output / f"{role}.json")]
    results["validate"] = client(
        *["validate", "--url", url, "--space", SPACE, "--table", results["profile"]["table_id"], "--architectures", 24],
        *[*own, "--budget", "quick", "-o", output / "validation"],
    )
    step("drawing and reporting")
    client("draw", "--architecture", output / "student.json", "-o", output / "student.svg")
    client("report", output, "-o", output / "report.html", "--title", "A search on generated street scenes")
    return results


def derive(output: Path, table: Path, role: str, found: dict[str, Any]) -> Any:
    """The network of that role with the best ACC·(LAT/T)^w, its accuracy the supernet's; a teacher's latency does not count."""
    accuracies = {c["alternative"]: c["accuracy"] for c in found["candidates"][role]}
    path = output / "search" / f"accuracies-{role}.json"
    path.write_text(json.dumps(accuracies))
    options = ["--teacher", "--exponent", 0] if role == "teacher" else []
    logits = output / "search" / f"parameters-{role}.json"
    arguments = ["derive", "--table", table, "--parameters", logits, "--accuracies", path]
    return client(*arguments, *options, "-o", output / f"{role}.json")


def train(output: Path, role: str) -> Any:
    """Train the network of that role, or go on with its training; the student's teacher is trained already."""
    arguments = ["train", "--architecture", output / f"{role}.json", "--config", output / "train.yaml", "-o", output / role]
    if role == "student":
        arguments += ["--teacher", output / "teacher"]
    if (output / role / "architecture.json").exists():
        arguments.append("--resume")
    return client(*arguments)


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
