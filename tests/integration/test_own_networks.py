"""`profiler-service measure` with real processes and runtimes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.repository import ROOT
from tests.unit.models.export.test_own_network import model, saved

MODULE = "tests.support.own_networks:Net"


@pytest.mark.parametrize("kind", ["file", "module", "torch"])
def test_a_network_is_measured(tmp_path: Path, kind: str) -> None:
    """A file by ONNX Runtime; a module by ONNX Runtime, exported; a module by torch. A module's output is checked."""
    network = [str(saved(tmp_path, model()))] if kind == "file" else [MODULE, "--input", "1x3x32x64"]
    backend = "torch" if kind == "torch" else "onnxruntime"
    words = [Path(sys.executable).with_name("profiler-service"), "measure", *network, "--backend", backend]
    environment = os.environ | {"OPCLOCK_DATABASE": str(tmp_path / "none.sqlite"), "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(
        [*words, "--budget", "quick", "--json"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=200
    )
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert 0 < found["min_ms"] <= found["value_ms"] < 100
    assert found["target"]["backend"] == backend
    assert found["checked"] is (kind != "file")
    assert found["output_error"] is None if kind == "file" else found["output_error"] < 1e-4
    if kind == "torch":
        assert "reads no ONNX graph" in found["no_layers"]
    else:
        operators = [layer["operators"] for layer in found["layers"]["layers"]]
        assert operators == ([["Mul"]] if kind == "file" else [["Conv", "Sigmoid"], ["Conv"]])
        assert all(layer["status"] == "ok" for layer in found["layers"]["layers"])
    assert "_registration" not in ended.stderr, "the exporter's own messages are for nobody"
