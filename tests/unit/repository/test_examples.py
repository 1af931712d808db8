"""What the documentation shows as Python runs: the examples of docstrings, and those of the pages on use."""

from __future__ import annotations

import doctest
import re
import shutil
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

import nas_client
import profiler_service
from nas_client import create_space, load_table
from tests.support.repository import ROOT

TABLE = "intel-xeon-processor/onnxruntime/fasterseg-256x512-fp32"
MODULES = sorted(
    {
        getattr(package, name).__module__
        for package in (nas_client, profiler_service)
        for name in package.__all__
        if not name.isupper()
    }
)


def _blocks() -> list[tuple[str, str]]:
    """Page and source of every Python block."""
    pages = [ROOT / "README.md", ROOT / "docs" / "api.md", ROOT / "docs" / "use-table.md"]
    found = [(page, re.findall(r"^```python\n(.*?)^```$", page.read_text(encoding="utf-8"), re.M | re.S)) for page in pages]
    return [(f"{page.name}-{index}", block) for page, blocks in found for index, block in enumerate(blocks)]


BLOCKS = dict(_blocks())


@pytest.mark.parametrize("module", MODULES)
def test_examples_of_docstrings(module: str) -> None:
    assert doctest.testmod(import_module(module), raise_on_error=False).failed == 0


def test_docstrings_have_examples() -> None:
    finder = doctest.DocTestFinder()
    assert sum(len(test.examples) for module in MODULES for test in finder.find(import_module(module))) >= 8


def test_the_readme_begins_with_three_lines_from_a_name_to_a_loss() -> None:
    lines = [line for line in BLOCKS["README.md-0"].splitlines() if line and not line.startswith(("from ", "import "))]
    assert len(lines) == 3
    scope: dict[str, object] = {}
    exec(BLOCKS["README.md-0"], scope)
    parameters = scope["parameters"]
    assert isinstance(parameters, nas_client.ArchitectureParameters)
    for logits in parameters.tensors():
        assert logits.grad is not None
        assert logits.grad.abs().sum() > 0


@pytest.mark.parametrize("block", BLOCKS)
def test_examples_of_pages(block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside a table and an architecture, as a reader would have them."""
    shutil.copy(ROOT / "lut_data" / f"{TABLE}.parquet", tmp_path / "table.parquet")
    space = create_space(load_table(TABLE).info.space)
    (tmp_path / "student.json").write_text(space.sample(np.random.default_rng(0)).model_dump_json())
    monkeypatch.chdir(tmp_path)
    exec(compile(BLOCKS[block], block, "exec", dont_inherit=True), {"__name__": "__main__"})


def test_nobody_reads_examples_that_are_not_found() -> None:
    assert {"README.md-0", "use-table.md-0", "api.md-0"} <= BLOCKS.keys()
