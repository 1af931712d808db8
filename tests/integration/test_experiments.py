"""The experiments on measuring, at toy size: they run, and say what they promise to say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.spec.tables import Table
from scripts import coverage, noise_trial
from scripts.trials import Trial
from tests.support import table_samples as samples


def tables(rng: np.random.Generator, count: int, *, between: float) -> list[Table]:
    """Tables of sixty entries, whose processes differ by `between` and whose rounds by 1 %."""
    true = rng.uniform(0.1, 1.0, 60)
    found = []
    for _ in range(count):
        centre = true * (1 + between * rng.standard_normal(60))
        rounds = centre[:, None] * (1 + 0.01 * rng.standard_normal((60, 6)))
        entries = tuple(
            samples.measurement(
                samples.operator(8 + index),
                float(np.median(row)),
                stderr_ms=float(1.25 * np.std(row, ddof=1) / np.sqrt(6)),
                rounds=6,
            )
            for index, row in enumerate(rounds)
        )
        found.append(Table(info=samples.info(), entries=entries))
    return found


def test_coverage_is_as_promised_where_processes_differ_as_usual() -> None:
    rng = np.random.default_rng(0)
    report = coverage.coverage(tables(rng, 12, between=0.005))
    assert coverage.LOWEST <= report["covered"] <= coverage.HIGHEST + 0.02
    assert report["processes_sd"] == pytest.approx(0.005, abs=0.002)


def test_coverage_finds_processes_that_differ_by_more() -> None:
    rng = np.random.default_rng(0)
    report = coverage.coverage(tables(rng, 12, between=0.03))
    assert report["rounds_alone"] < report["covered"] < coverage.LOWEST
    assert report["processes_sd"] == pytest.approx(0.03, rel=0.2)


@pytest.mark.slow
def test_both_experiments_run(tmp_path: Path) -> None:
    """Two processes are too few to tell anything; the numbers are there, and a second call measures nothing again."""
    trial = Trial(tmp_path, input_size="64x128", sample=6)
    found = [trial.table(name) for name in ("one", "two", "three")]
    report = coverage.coverage(found)
    assert report["processes"] == 3
    assert 0 < report["entries"] <= 6
    row = noise_trial.compare(found[0], found[1], found[1], found[2])
    assert set(row) >= {"in_context", "plain", "isolated", "verdict"}
    noise_trial.plot([{"condition": "quiet", **row}, {"condition": "again", **row}], tmp_path / "noise.png")
    assert (tmp_path / "noise.png").stat().st_size > 1000
    before = trial.database("one").stat().st_mtime_ns
    assert trial.table("one") == found[0]
    assert trial.database("one").stat().st_mtime_ns == before
