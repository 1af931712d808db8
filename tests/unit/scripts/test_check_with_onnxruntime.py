"""The independent check of measured networks, at toy size: what it reads and prints, and how it ends. No time is asserted."""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from models.spaces.registry import create_space
from models.spec.architectures import SpaceSpec
from tests.support.repository import ROOT

pytest.importorskip("onnxruntime")

SCRIPT = ROOT / "scripts" / "check_with_onnxruntime.py"
SPACE = create_space(SpaceSpec(name="fasterseg", input_size=(32, 64), parameters={"layers": 5}))
COLUMNS = ("key", "measured_ms", "plain_ms", "sum_ms", "architecture")


def report(folder: Path, *measured_ms: float | None) -> Path:
    """A validation's points, as far as the check reads them."""
    rng = np.random.default_rng(0)
    with (folder / "points.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        for ms in measured_ms:
            network = SPACE.sample(rng)
            row = {"measured_ms": ms, "plain_ms": ms, "sum_ms": ms}
            writer.writerow(row | {"key": network.key(), "architecture": network.model_dump_json()})
    return folder


def check(folder: Path, *more: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, SCRIPT, folder, "--runs", 3, "--core", min(os.sched_getaffinity(0)), *more]
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, cwd=ROOT, env=environment(ROOT))


def environment(root: Path) -> dict[str, str]:
    return dict(os.environ) | {"PYTHONPATH": str(root)}


def test_networks_far_off_are_named(tmp_path: Path) -> None:
    ended = check(report(tmp_path, 1e6, None, 2e6, 3e6, 4e6), "--networks", 3)
    assert ended.returncode == 1, ended.stderr
    assert ended.stderr.startswith("3 of 3 networks are more than 3% off: ")
    heading, *lines = ended.stdout.splitlines()
    assert re.split(r"  +", heading) == [
        "network",
        "plain ORT ms",
        "measured ms",
        "its plain ms",
        "sum ms",
        "measured/ORT",
        "sum/ORT",
    ]
    assert [float(line.split()[2]) for line in lines] == [1e6, 3e6, 4e6]
    for line in lines:
        assert float(line.split()[1]) > 0
        assert line.split()[0] in ended.stderr


def test_networks_within_the_tolerance_end_with_0(tmp_path: Path) -> None:
    ended = check(report(tmp_path, 1e6, 2e6), "--tolerance", 1e12)
    assert ended.returncode == 0, ended.stderr
    assert "all 2 networks are within" in ended.stdout


def test_a_report_without_measured_networks_says_so(tmp_path: Path) -> None:
    ended = check(report(tmp_path, None))
    assert ended.returncode == 1
    assert "no measured network" in ended.stderr
