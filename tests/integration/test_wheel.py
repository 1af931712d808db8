"""What is released: a wheel, installed where nothing of the checkout can be seen, and run from there."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import pytest

from models.spaces.registry import create_space
from models.spec.table_files import read_table
from tests.support.repository import ROOT

PACKAGES = ("models", "profiler_service", "nas_client")
PUBLISHED = ROOT / "lut_data/intel-xeon-processor/onnxruntime/fasterseg-256x512-fp32.parquet"


def test_the_changelog_begins_with_the_version_that_is_built() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    headings = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)
    dated = next(heading for heading in headings if heading != "Unreleased")
    assert re.fullmatch(rf"{re.escape(project['version'])} - \d{{4}}-\d\d-\d\d", dated)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy: what earlier builds left in `build/` would get into it."""
    for needed, least in (("build", 1), ("setuptools", 77)):
        try:
            found = int(version(needed).split(".")[0])
        except PackageNotFoundError:
            found = 0
        if found < least:
            pytest.skip(f"needs {needed} {least} or newer: pip install '.[dev]', or make setup")
    source = tmp_path_factory.mktemp("source")
    for name in PACKAGES:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    _run([sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", "dist", "."], source)
    (built,) = (source / "dist").iterdir()
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of commands of an environment that has this wheel. Other packages are those of the present environment: on
    the path of the new one, so that nothing is downloaded, but behind it.
    """
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False, symlinks=True)
    commands = folder / "bin"
    here = [entry for entry in sys.path if Path(entry).name == "site-packages"]
    pip = [sys.executable, "-m", "pip", "--python", str(commands / "python"), "install", "--quiet", "--no-index", "--no-deps"]
    _run([*pip, str(wheel)], folder)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "others.pth").write_text("\n".join(here))
    return commands


@pytest.mark.slow
def test_everything_that_the_packages_hold_is_in_the_wheel(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    held = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {
        "nas_client/py.typed",
        "nas_client/report/templates/report.html",
        "profiler_service/storage/migrations/script.py.mako",
        "profiler_service/web/static/licences.txt",
    } <= held
    assert held - names == set()
    assert {name for name in names - held if ".dist-info/" not in name} == set()


@pytest.mark.slow
def test_an_installed_wheel_estimates_a_network_and_opens_a_database(installed: Path, tmp_path: Path) -> None:
    table = read_table(PUBLISHED)
    architecture = create_space(table.info.space).sample(np.random.default_rng(0))
    (tmp_path / "student.json").write_text(architecture.model_dump_json())
    shutil.copy(PUBLISHED, tmp_path / "table.parquet")

    for package in PACKAGES:
        found = _run([installed / "python", "-c", f"import {package}; print({package}.__file__)"], tmp_path)
        assert Path(found.strip()).is_relative_to(installed.parent), "the checkout is tested, not the wheel"

    estimate = [installed / "nas-client", "estimate", "--table", "table.parquet", "--architecture", "student.json", "--json"]
    document = json.loads(_run(estimate, tmp_path))
    assert document["sum_ms"] > 0
    assert all(operator["ms"] is not None for operator in document["operators"])

    assert "profile" in _run([installed / "profiler-service", "--help"], tmp_path)
    _run([installed / "profiler-service", "import", "table.parquet", "--database", "new.sqlite"], tmp_path)  # migrations
    assert table.info.id() in _run([installed / "profiler-service", "tables", "--database", "new.sqlite", "--json"], tmp_path)


def _run(command: list[str | Path], folder: Path) -> str:
    """What the command prints; its errors are the test's."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout
