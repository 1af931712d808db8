"""Plugins as pip would install them, written to a folder: modules, and a `.dist-info` with entry points."""

from __future__ import annotations

import importlib
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from models import plugin_registry, plugins
from models.spaces.registry import SPACES
from models.spec.kinds import KINDS
from nas_client.data.datasets import DATASETS
from profiler_service.backends.registry import BACKENDS


class Environment:
    """A folder on this process's path, where plugins are installed for one test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def install(
        self,
        distribution: str,
        version: str = "1.0",
        modules: Mapping[str, str] | None = None,
        **entry_points: Mapping[str, str],
    ) -> None:
        """Write a distribution: `spaces={"name": "module:object"}` is a group of entry points."""
        for module, source in (modules or {}).items():
            (self.folder / f"{module}.py").write_text(source)
        info = self.folder / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
        groups = [
            "\n".join([f"[opclock.{group}]", *(f"{name} = {value}" for name, value in entries.items())])
            for group, entries in entry_points.items()
        ]
        (info / "entry_points.txt").write_text("\n\n".join(groups) + "\n")
        self._look_again()

    def uninstall_all(self) -> None:
        """What was imported stays imported."""
        for info in self.folder.glob("*.dist-info"):
            shutil.rmtree(info)
        self._look_again()

    def _look_again(self) -> None:
        importlib.invalidate_caches()
        plugins.foreign_entries.cache_clear()


@pytest.fixture(name="environment")
def environment_fixture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Environment]:
    """Nothing of it is left after the test."""
    monkeypatch.syspath_prepend(str(tmp_path))
    for registry in (SPACES, KINDS, BACKENDS, DATASETS):
        for name in ("_loaded", "_registered", "_digests"):
            monkeypatch.setattr(registry, name, {})  # not even what other tests have registered
    if (layers := sys.modules.get("models.operators.layers")) is not None:
        monkeypatch.setattr(layers, "_builders", {})
    monkeypatch.setattr(plugins, "_imported", {})
    monkeypatch.setattr(plugin_registry, "_warned", set())
    before = set(sys.modules)
    plugins.foreign_entries.cache_clear()
    yield Environment(tmp_path)
    plugins.foreign_entries.cache_clear()
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]
