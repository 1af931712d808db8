"""How often 95 % intervals of entries cover: the same entries in many fresh processes, each with a database of its own.

    python scripts/coverage.py --processes 16 --entries 40 -o build/coverage

The truth of an entry is what the other processes find. Between processes other work may run (`--disturb`), so that they meet
different conditions; never while one measures. Run it when the machine does nothing else (docs/measurement.md).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.stats import t as student

from models.spec.measurements import Measurement
from models.spec.tables import Table
from models.spec.verdicts import degrees, value_stderr_ms
from scripts.noise import noise
from scripts.trials import Trial, sampled

LOWEST, HIGHEST = 0.93, 0.97
"""Between which the share of 95 % intervals that cover should lie."""


def main() -> int:
    """Measure, compare, write and print; 0 where the coverage is as promised, 6 where it is not."""
    options = _options()
    trial = Trial(options.output, input_size=options.input_size, sample=options.entries, budget=options.budget)
    tables = []
    for number in range(options.processes):
        if options.disturb and number:
            _other_work(number, options.disturb)
        tables.append(trial.table(f"process-{number:02}"))
        print(f"process {number + 1} of {options.processes}", file=sys.stderr, flush=True)
    report = coverage(tables)
    (options.output / "coverage.json").write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report, indent=2))
    return 0 if LOWEST <= report["covered"] <= HIGHEST else 6


def coverage(tables: Sequence[Table]) -> dict[str, float]:
    """What the tables say of each other.

    Returns:
        `covered`: share of the 95 % intervals that hold what the other tables find; `rounds_alone`: the same where only
        the spread between rounds counts; `processes_sd`: standard deviation between processes beyond what rounds explain, as a
        fraction of the value, median over the entries; and how many there were.
    """
    found = [sampled(table) for table in tables]
    keys = set.intersection(*(set(entries) for entries in found))
    covered, rounds_alone, between = [], [], []
    for key in sorted(keys):
        entries = [entries[key] for entries in found]
        values = np.array([entry.value_ms for entry in entries], dtype=float)
        own = np.array([entry.stderr_ms for entry in entries], dtype=float)
        whole = np.array([value_stderr_ms(entry, table.info) for entry, table in zip(entries, tables, strict=True)])
        for index, entry in enumerate(entries):
            others = np.delete(values, index)
            error = abs(values[index] - others.mean())
            uncertain = others.var(ddof=1) / others.size
            covered.append(error <= _quantile(entry) * np.hypot(whole[index], np.sqrt(uncertain)))
            rounds_alone.append(error <= _quantile(entry) * np.hypot(own[index], np.sqrt(uncertain)))
        between.append(np.sqrt(max(values.var(ddof=1) - np.mean(own**2), 0.0)) / values.mean())
    return {
        "covered": float(np.mean(covered)),
        "rounds_alone": float(np.mean(rounds_alone)),
        "processes_sd": float(np.median(between)),
        "processes_sd_p90": float(np.quantile(between, 0.9)),
        "entries": len(keys),
        "processes": len(tables),
        "intervals": len(covered),
        "median_relative_stderr": float(np.median([e.stderr_ms / e.value_ms for one in found for e in one.values()])),
    }


def _quantile(entry: Measurement) -> float:
    return float(student.ppf(0.975, degrees(entry.rounds)))


def _other_work(number: int, seconds: float) -> None:
    """Something else before the next process: nothing, counting, or streaming through memory, in turn."""
    if kind := (None, "cpu", "memory")[number % 3]:
        with noise([0, 1], kind, seconds=seconds):  # type: ignore[arg-type]
            time.sleep(seconds)
    else:
        time.sleep(seconds)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--processes", type=int, default=16, metavar="N")
    add("--entries", type=int, default=40, metavar="N")
    add("--input-size", default="128x256", metavar="HxW")
    add("--budget", default="quick", choices=["quick", "normal", "thorough"])
    add("--disturb", type=float, default=10.0, metavar="S", help="seconds of other work between processes; 0 for none")
    add("-o", "--output", type=Path, default=Path("build/coverage"), metavar="DIR")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
