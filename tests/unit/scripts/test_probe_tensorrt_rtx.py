"""The probe must say what happened, whatever happens."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from tests.support.repository import ROOT


@pytest.fixture(scope="module")
def probe() -> ModuleType:
    path = ROOT / "scripts" / "probe_tensorrt_rtx.py"
    spec = importlib.util.spec_from_file_location("probe_tensorrt_rtx", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_child_that_hangs_is_killed_and_said_to_have_hung(probe: ModuleType) -> None:
    found = probe.run_child("default", "float16", 0.02)
    assert found["outcome"] == "hung for 0 s"


@pytest.mark.parametrize(
    ("body", "outcome", "unfinished"),
    [
        ("import os; os.abort()", "crashed with SIGABRT", ["run it"]),
        ("raise SystemExit(1)", "failed", ["run it"]),
    ],
)
def test_a_child_that_ends_early_leaves_the_step_it_was_in(
    probe: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, body: str, outcome: str, unfinished: list[str]
) -> None:
    child = tmp_path / "child.py"
    child.write_text(
        f"""print('{{"step": "build"}}\\n{{"step": "build", "ok": true}}\\n{{"step": "run it"}}', flush=True)\n{body}\n"""
    )
    monkeypatch.setattr(probe, "__file__", str(child))
    found = probe.run_child("default", "float16", 30.0)
    assert (found["outcome"], found["unfinished"]) == (outcome, unfinished)
    assert found["steps"] == [{"step": "build", "ok": True}]


def test_the_gpu_that_is_asked_for_is_the_one_that_is_probed(
    probe: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    child = tmp_path / "child.py"
    child.write_text("import json, sys; print(json.dumps({'step': 'run it', 'ok': True, 'told': sys.argv[1:]}))\n")
    monkeypatch.setattr(probe, "__file__", str(child))
    (step,) = probe.run_child("SM89", "float16", 30.0, device_index=2)["steps"]
    told = step["told"]
    assert told[told.index("--device-index") + 1] == "2"
    monkeypatch.setattr(probe, "probe", lambda variant, dtype, index: opened.append((variant, index)))
    opened: list[tuple[str, int]] = []
    monkeypatch.setattr(sys, "argv", ["probe", *told])
    assert probe.main() == 0
    assert opened == [("SM89", 2)]


def test_a_wrong_result_is_no_success(probe: ModuleType) -> None:
    rng = np.random.default_rng(0)
    source = rng.standard_normal((1, 2, 4, 5)).astype(np.float32)
    identity = np.zeros((2, 2, 3, 3), np.float32)
    identity[[0, 1], [0, 1], 1, 1] = 1.0
    assert probe.check(source, source, identity, 1e-6) == 0.0
    with pytest.raises(probe.StepError, match="relative error"):
        probe.check(source * 1.01, source, identity, 1e-3)
    with pytest.raises(probe.StepError, match="relative error nan"):
        probe.check(source * np.nan, source, identity, 1e-3)
