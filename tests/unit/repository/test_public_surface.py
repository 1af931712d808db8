"""`nas_client` and `profiler_service`: what they export, what importing them loads, and docs/api.md, which lists it."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

import nas_client
import profiler_service
from tests.support.repository import ROOT
from tests.support.scripts import load_script

PACKAGES = [nas_client, profiler_service]
HEAVY = {
    "torch",
    "numpy",
    "pyarrow",
    "httpx",
    "pydantic",
    "pydantic_settings",
    "fastapi",
    "sqlalchemy",
    "typer",
    "rich",
    "scipy",
}


@pytest.mark.parametrize("package", PACKAGES)
def test_every_name_is_there_and_nothing_else_is_public(package: ModuleType) -> None:
    assert dir(package) == sorted(package.__all__)
    for name in package.__all__:
        assert getattr(package, name) is not None
        assert not inspect.ismodule(getattr(package, name)), f"{name} is hidden by a module of that name"
    with pytest.raises(AttributeError, match=f"module '{package.__name__}' has no attribute 'nothing'"):
        _ = package.nothing


@pytest.mark.parametrize("package", PACKAGES)
def test_type_checkers_see_what_runs(package: ModuleType) -> None:
    """They read the imports under `TYPE_CHECKING`, which never run."""
    tree = ast.parse(inspect.getsource(package))
    (checked,) = [node for node in tree.body if isinstance(node, ast.If)]
    imports = [node for node in checked.body if isinstance(node, ast.ImportFrom)]
    seen = {alias.name: getattr(import_module(str(node.module)), alias.name) for node in imports for alias in node.names}
    assert seen == {name: getattr(package, name) for name in package.__all__}


@pytest.mark.parametrize("package", PACKAGES)
def test_a_name_is_found_although_a_module_is_imported_first(package: ModuleType) -> None:
    """Importing a submodule binds its name in the package, where it would hide an export."""
    folder = Path(str(package.__file__)).parent
    assert {path.stem for path in folder.iterdir()}.isdisjoint(package.__all__)


@pytest.mark.parametrize("package", PACKAGES)
def test_importing_a_package_loads_nothing(package: ModuleType) -> None:
    source = f"import sys, {package.__name__}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", source], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    assert package.__name__ in loaded
    assert HEAVY.isdisjoint(loaded)


def test_the_page_is_what_the_script_writes() -> None:
    with load_script("api_docs") as api_docs:
        assert api_docs.PAGE.read_text(encoding="utf-8") == api_docs.page(), "write it with python scripts/api_docs.py"


def test_an_export_without_a_docstring_is_refused() -> None:
    def undocumented() -> None: ...

    with load_script("api_docs") as api_docs, pytest.raises(SystemExit, match="undocumented has no docstring"):
        list(api_docs._entry("undocumented", undocumented))
