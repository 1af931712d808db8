"""What loading the command costs those who load it without running it."""

from __future__ import annotations

import subprocess
import sys


def test_a_spawned_worker_loads_nothing_of_its_parents() -> None:
    """Spawned processes import the console script's module again."""
    code = "import sys, profiler_service.cli.main; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"fastapi", "sqlalchemy", "typer", "numpy", "torch", "onnxruntime"}.intersection(loaded)


def test_the_command_loads_no_runtime() -> None:
    code = "import sys, profiler_service.cli.commands; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "onnxruntime", "onnx", "tensorrt"}.intersection(loaded)
