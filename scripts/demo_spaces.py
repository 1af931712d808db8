"""Each search space of this project, from its operators to a trained network: table, search, training, measured latency.

For every space a small one is measured, searched, decoded, trained, evaluated and validated on generated images. All of it is
commands that a user could type; this script only starts them in order and judges what they wrote. After a space that failed it
goes on with the next. Run again, it reuses what is measured, and goes on with searches and trainings. It ends with 1 where a
space failed, or where what was learned or measured is not good enough. Results: build/demo-spaces/.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo_sizes import SIZES
from demo_steps import CONSOLE, SearchSteps, StepError, quick, service, step
from rich.table import Table

from models.spec.verdicts import TrustLevel
from models.terminal import print_unwrapped

NETWORKS = 10
"""Random networks that are measured beside the found one."""

LEARNED = 0.05
"""A trained network's mIoU is at least so much above an untrained one's, and above that of naming one class everywhere."""

UNTRAINED = ("--set", "epochs=1", "--set", "optimizer.lr=1e-9", "--set", "data.train_images=16")
"""A training that changes nothing but the statistics of batch normalisation."""


@dataclass(frozen=True)
class Outcome:
    """What came of one space.

    Attributes:
        searched, trained: losses by epoch, of the supernet's weights and of the training.
        one_class_iou: mIoU of a network that names the most frequent class everywhere.
        untrained_iou, trained_iou: of the found network, before its training and after it.
        estimated_ms, measured_ms: latency of the found network.
        verdict: of the validation.
        seconds: that all steps took.
    """

    searched: Sequence[float]
    trained: Sequence[float]
    one_class_iou: float
    untrained_iou: float
    trained_iou: float
    estimated_ms: float
    measured_ms: float
    verdict: TrustLevel
    seconds: float

    def complaints(self) -> list[str]:
        """Why this is not good enough; empty where it is."""
        found = [
            f"the {what} loss went from {losses[0]:.3f} to {losses[-1]:.3f}"
            for what, losses in (("supernet's", self.searched), ("training's", self.trained))
            if not losses[-1] < losses[0]
        ]
        if self.trained_iou < LEARNED + (floor := max(self.untrained_iou, self.one_class_iou)):
            found.append(f"mIoU is {self.trained_iou:.1%}, without training {floor:.1%}")
        if self.verdict is TrustLevel.UNUSABLE:
            found.append(f"the verdict on the validation is {self.verdict.value}")
        return found


def main() -> int:
    """Run the demo; 0 where every space is done and good enough."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--space", action="append", choices=list(SIZES), help="only this one; repeatable")
    parser.add_argument("--quick", action="store_true", help="an epoch of everything: to see it run, not to learn anything")
    parser.add_argument("--fresh", action="store_true", help="forget earlier searches and trainings; keep what is measured")
    parser.add_argument("--output", type=Path, default=Path("build/demo-spaces"))
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    outcomes: dict[str, Outcome | StepError] = {}
    with service(options.output) as url:
        for name in options.space or SIZES:
            size = SIZES[name]
            steps = SearchSteps(options.output / name, url, name, size.input_size, size.parameters, size.classes)
            if options.fresh:
                steps.forget(size.role, "untrained")
            configs = (size.search, size.train)
            steps.write_configs(*(quick(*configs) if options.quick else configs))
            try:
                outcomes[name] = run_space(steps, size.role)
            except StepError as error:
                outcomes[name] = error
    return sum_up(outcomes, options.output, quick=options.quick)


def run_space(steps: SearchSteps, role: str) -> Outcome:
    """All steps of one space. Raises StepError where a command failed."""
    started = time.monotonic()
    profiled = steps.profile()
    steps.derive(role, steps.search())
    step("evaluating its network untrained")
    untrained = steps.train(role, *UNTRAINED, folder="untrained")
    step(f"training the {role}")
    steps.train(role)
    evaluated = steps.evaluate(role)
    validated = steps.validate(profiled["table_id"], NETWORKS, (role,))
    steps.report(f"A search in the space {steps.space}")
    (network,) = validated["named"]
    return Outcome(
        searched=[epoch["losses"][f"weights_{role}"] for epoch in _journal(steps.output / "search")],
        trained=[epoch["segmentation"] for epoch in _journal(steps.output / role)],
        one_class_iou=one_class_iou(steps.evaluation(role) / "confusion.csv"),
        untrained_iou=untrained["final"]["mean_iou"],
        trained_iou=evaluated["metrics"]["mean_iou"],
        estimated_ms=network["sum_ms"],
        measured_ms=network["measured_ms"],
        verdict=TrustLevel(validated["verdict"]["level"]),
        seconds=time.monotonic() - started,
    )


def _journal(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "epochs.jsonl").read_text().splitlines()]


def one_class_iou(confusion: Path) -> float:
    """The mIoU of naming the most frequent class everywhere, from an evaluation's confusion matrix."""
    with confusion.open(newline="", encoding="utf-8") as file:
        labelled = [sum(map(int, counts)) for _, *counts in list(csv.reader(file))[1:]]
    return max(labelled) / sum(labelled) / sum(count > 0 for count in labelled)


def sum_up(outcomes: Mapping[str, Outcome | StepError], output: Path, *, quick: bool = False) -> int:
    """The closing summary; the demo's exit code. Networks that were trained for an epoch only are not judged."""
    table = Table(title="Searched, trained and measured", title_justify="left")
    for heading in ("space", "loss of supernet", "loss of training"):
        table.add_column(heading)
    for heading in ("mIoU: one class", "untrained", "trained (%)", "ms: estimated", "measured", "error", "seconds"):
        table.add_column(heading, justify="right")
    said = []
    for name, outcome in outcomes.items():
        if isinstance(outcome, StepError):
            table.add_row(name, f"failed ({outcome.code})")
            said.append(f"{name} failed: its last command above ended with {outcome.code}.")
            continue
        table.add_row(
            name,
            *(f"{losses[0]:.2f} → {losses[-1]:.2f}, {len(losses)} epochs" for losses in (outcome.searched, outcome.trained)),
            *(f"{100 * iou:.1f}" for iou in (outcome.one_class_iou, outcome.untrained_iou, outcome.trained_iou)),
            *(f"{ms:.3f}" for ms in (outcome.estimated_ms, outcome.measured_ms)),
            f"{outcome.estimated_ms / outcome.measured_ms - 1:+.1%}",
            f"{outcome.seconds:.0f}",
        )
        if quick:
            said.append(f"{name} ran. --quick trains too little to judge it.")
        elif complaints := outcome.complaints():
            said.append(f"{name} is not good enough: {'; '.join(complaints)}.")
        else:
            said.append(f"{name} learned, and its validation is {outcome.verdict.value}.")
    CONSOLE.print()
    print_unwrapped(CONSOLE, table)
    for sentence in said:
        CONSOLE.print(sentence, markup=False)
    CONSOLE.print(f"Everything is in {output}/; each space's folder has a report.html.", markup=False)
    good = all(isinstance(outcome, Outcome) and (quick or not outcome.complaints()) for outcome in outcomes.values())
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
