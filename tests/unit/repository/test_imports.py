"""What importing a module loads, seen in a fresh process, and what no module may name (docs/architecture.md)."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from models.spaces.registry import space_names
from tests.support.repository import ROOT

RUNTIMES = {"torch", "onnxruntime", "tensorrt", "tensorrt_rtx", "cuda", "pycuda", "pynvml"}
HTTP = {"httpx", "httpx_sse", "stamina"}
SERVERS = {"fastapi", "sqlalchemy", "typer", "rich"}
TABLES = {"numpy", "pyarrow", "onnx"}

FORBIDDEN = {
    "models.spec.operators": RUNTIMES | HTTP | SERVERS | TABLES,
    "models.spec.table_files": RUNTIMES | HTTP | SERVERS | TABLES,
    "models.spec.wire": RUNTIMES | HTTP | SERVERS | TABLES,
    "models.spaces.registry": RUNTIMES | HTTP | SERVERS | TABLES,
    "models.spaces.fasterseg.space": RUNTIMES | HTTP | SERVERS | TABLES,
    "profiler_service.api.app": RUNTIMES | HTTP | {"nas_client"},
    "profiler_service.cli.commands": RUNTIMES | HTTP | {"nas_client"},
    "profiler_service.cli.machine_checks": RUNTIMES | HTTP | TABLES | {"nas_client", "fastapi", "sqlalchemy"},
    "nas_client.table": RUNTIMES | {"fastapi", "sqlalchemy", "profiler_service"},
    "nas_client.cli.main": RUNTIMES | {"fastapi", "sqlalchemy", "profiler_service"},
    "nas_client.latency.decoupled": HTTP | {"onnxruntime", "profiler_service"},
}


@pytest.mark.parametrize("module", FORBIDDEN)
def test_importing_a_module_does_not_load(module: str) -> None:
    source = f"import sys, {module}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", source], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    assert module in loaded
    assert FORBIDDEN[module].isdisjoint(loaded)
    assert "pytest" not in loaded, "the suites for plugins are for tests alone"


def test_nothing_outside_the_spaces_names_one() -> None:
    names = re.compile(rf"\b({'|'.join(map(re.escape, space_names()))})\b")
    spaces = ROOT / "models" / "spaces"
    sources = [path for package in ("models", "profiler_service", "nas_client") for path in (ROOT / package).rglob("*.py")]
    outside = [path for path in sources if spaces not in path.parents]
    assert len(outside) > 100
    naming = [str(path.relative_to(ROOT)) for path in outside if names.search(path.read_text(encoding="utf-8"))]
    assert naming == []


def test_a_space_takes_less_than_a_hundred_lines() -> None:
    """Of code and documentation; blank lines are not work."""
    lines = (ROOT / "tests" / "support" / "toy_space.py").read_text(encoding="utf-8").splitlines()
    assert sum(bool(line.strip()) for line in lines) < 100
