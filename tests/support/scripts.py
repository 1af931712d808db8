"""A file of `scripts/` as a module, for tests of what it does."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from tests.support.repository import ROOT


@contextmanager
def load_script(name: str) -> Iterator[ModuleType]:
    """`scripts/<name>.py`, imported."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where `inspect` looks for the source of its classes
    spec.loader.exec_module(module)
    yield module
    del sys.modules[name]
