"""Search spaces, operator kinds, backends and data sets by name: our own, and those that other packages add.

A package adds names by entry points (`[project.entry-points."opclock.spaces"]` in its pyproject.toml), a module that
`OPCLOCK_PLUGINS` names by calling `register_…` when it is imported. Names are known without importing anything; an object is
imported when its name is used, in every process by itself. Our own names are entry points too. docs/extend.md says how to add
one; `profiler-service doctor` lists all plugins.
"""

from __future__ import annotations

import os
import re
import sys
import threading
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, reduce
from importlib import import_module
from importlib.metadata import PackageNotFoundError, distribution, entry_points, version
from pathlib import Path
from typing import Any

from models.spec.errors import UnknownNameError

OWN = "opclock"
"""Our distribution. Its names cannot be taken."""

VARIABLE = "OPCLOCK_PLUGINS"
"""The environment variable with modules to import, separated by commas."""

GROUPS: Mapping[str, str] = {
    "opclock.spaces": "search space",
    "opclock.operators": "operator kind",
    "opclock.backends": "backend",
    "opclock.datasets": "data set",
}
"""Groups of entry points, with what their names are."""

_PROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"
LOCK = threading.RLock()


class PluginError(UnknownNameError):
    """A name whose plugin cannot be used: it cannot be imported, is not what it should be, or shares the name with another."""


@dataclass(frozen=True, order=True)
class Origin:
    """What a name comes from.

    Attributes:
        name: of the distribution; of the top-level module, where a module registered it by itself.
        version: empty where there is none.
    """

    name: str
    version: str = ""

    def __str__(self) -> str:
        return f"{self.name} {self.version}".strip()

    @property
    def own(self) -> bool:
        """Whether that is this distribution."""
        return _normal(self.name) == OWN

    @classmethod
    def of_module(cls, module: str) -> Origin:
        """That of a module: the distribution of the same name, else the package itself."""
        package = module.partition(".")[0]
        if package in _OWN_PACKAGES:
            return own_origin()
        for entry in foreign_entries():
            if entry.value.partition(":")[0].partition(".")[0] == package:
                return entry.origin
        try:
            return cls(package, version(package))
        except PackageNotFoundError:
            return cls(package, str(getattr(sys.modules.get(package), "__version__", "")))


_OWN_PACKAGES = ("models", "profiler_service", "nas_client")


@dataclass(frozen=True)
class Entry:
    """One entry point.

    Attributes:
        group, name: as in `GROUPS`, and within the group.
        value: `package.module:object`.
        origin: whose it is.
    """

    group: str
    name: str
    value: str
    origin: Origin

    def __str__(self) -> str:
        return f"{GROUPS[self.group]} {self.name!r} of {self.origin}"

    def load(self) -> object:
        """The object. Raises PluginError."""
        return load_reference(self.value, str(self))


@dataclass(frozen=True)
class ModuleFailure:
    """A module of `OPCLOCK_PLUGINS` that cannot be imported, in one sentence."""

    module: str
    message: str


def load_reference(reference: str, what: str) -> Any:
    """The object at `package.module:object`, or the module at `package.module`.

    Args:
        reference: where it is.
        what: it is, for the message.

    Raises:
        PluginError: it cannot be imported; names the error. An error of our own modules is raised as it is.
    """
    module, _, path = reference.partition(":")
    try:
        return reduce(getattr, filter(None, path.split(".")), import_module(module))
    except (Exception, SystemExit) as error:  # whatever a plugin does wrong concerns its own names alone
        if module.partition(".")[0] in _OWN_PACKAGES:
            raise
        raise PluginError(f"{what} cannot be loaded: {_told(error)}", hint="Repair or uninstall that plugin.") from error


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}".removesuffix(": ")


@cache
def own_entries() -> tuple[Entry, ...]:
    """Our own entry points: in a checkout those of pyproject.toml, whatever is installed; else those of the distribution.

    Raises:
        PluginError: there is neither.
    """
    return tuple(
        Entry(group, name, value, own_origin()) for group in GROUPS for name, value in _own_groups().get(group, {}).items()
    )


@cache
def _own_project() -> Mapping[str, Any] | None:
    """The table `project` of the checkout that this module runs from; None in an installation."""
    try:
        project: Mapping[str, Any] = tomllib.loads(_PROJECT.read_text(encoding="utf-8"))["project"]
    except (OSError, ValueError, KeyError):
        return None
    return project if project.get("name") == OWN else None


def _own_groups() -> Mapping[str, Mapping[str, str]]:
    if (project := _own_project()) is not None:
        groups: Mapping[str, Mapping[str, str]] = project.get("entry-points", {})
        return groups
    try:
        found = distribution(OWN).entry_points
    except PackageNotFoundError as error:
        raise PluginError(
            f"{OWN} is not installed, and there is no {_PROJECT}", hint="Install it, or copy the entire checkout."
        ) from error
    return {group: {entry.name: entry.value for entry in found.select(group=group)} for group in GROUPS}


@cache
def own_origin() -> Origin:
    if (project := _own_project()) is not None:
        return Origin(OWN, str(project["version"]))
    return Origin(OWN, version(OWN))


@cache
def foreign_entries() -> tuple[Entry, ...]:
    """The entry points of all other distributions in this environment, in order of name. Nothing is imported."""
    found = {
        Entry(group, entry.name, entry.value, Origin(entry.dist.name, entry.dist.version))
        for group in GROUPS
        for entry in entry_points(group=group)
        if entry.dist is not None and _normal(entry.dist.name) != OWN
    }
    return tuple(sorted(found, key=lambda entry: (entry.group, entry.name, entry.origin)))


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


_imported: dict[str, str] = {}
"""Modules of `OPCLOCK_PLUGINS` that were imported, or tried, with what went wrong; empty where nothing did."""


def import_modules() -> None:
    """Import the modules of `OPCLOCK_PLUGINS`, once in each process. One that fails is remembered, and the others go on."""
    with LOCK:
        for module in filter(None, (name.strip() for name in os.environ.get(VARIABLE, "").split(","))):
            if module in _imported:
                continue
            _imported[module] = ""  # first: the module may ask for names while it is imported
            try:
                load_reference(module, f"module {module!r} of {VARIABLE}")
            except PluginError as error:
                _imported[module] = error.message


def module_failures() -> list[ModuleFailure]:
    """Those modules of `OPCLOCK_PLUGINS` that cannot be imported."""
    import_modules()
    return [ModuleFailure(module, message) for module, message in _imported.items() if message]


def plugins_sentence() -> str:
    """The plugins of this environment, for messages: `plugins here: toy-opclock 1.0`."""
    origins = sorted({str(entry.origin) for entry in foreign_entries()})
    modules = [module for module, message in _imported.items() if not message]
    told = [f"plugins here: {', '.join([*origins, *modules]) or 'none'}"]
    return "; ".join([*told, *(failure.message for failure in module_failures())])


def versions_of(origins: set[Origin]) -> dict[str, str]:
    """The plugins among these origins as a table's provenance has them: `{"plugin toy-opclock": "1.0"}`."""
    return {f"{_PROVENANCE}{origin.name}": origin.version for origin in sorted(origins) if not origin.own}


_PROVENANCE = "plugin "


def _measured_with(provenance: Mapping[str, str]) -> dict[str, str]:
    return {name.removeprefix(_PROVENANCE): text for name, text in provenance.items() if name.startswith(_PROVENANCE)}


def _here() -> dict[str, str]:
    """The plugins of this environment with their versions."""
    import_modules()
    modules = (Origin.of_module(module) for module, failed in _imported.items() if not failed)
    return {origin.name: origin.version for origin in (*modules, *(entry.origin for entry in foreign_entries()))}


def version_differences(provenance: Mapping[str, str]) -> list[str]:
    """Where plugins have other versions here than those that a table was measured with; one sentence each."""
    measured = _measured_with(provenance)
    here = _here() if measured else {}
    return [
        f"the table was measured with {name} {text}, and {here[name]} is installed here: its operators may be others"
        for name, text in sorted(measured.items())
        if here.get(name, text) != text
    ]


def missing_plugins(provenance: Mapping[str, str]) -> str:
    """The plugins that a table was measured with and that are not installed here: `toy-plugin 1.0`; empty where there are
    none. Modules of `OPCLOCK_PLUGINS` count as installed once they can be imported.
    """
    measured = _measured_with(provenance)
    here = _here() if measured else {}
    return ", ".join(f"{name} {text}".strip() for name, text in sorted(measured.items()) if name not in here)


def joined_versions(earlier: Mapping[str, str], now: Mapping[str, str]) -> dict[str, str]:
    """The plugins of a table that is measured further: each with all versions that had a part in it, in order."""
    joined = {f"{_PROVENANCE}{name}": text for name, text in _measured_with(earlier).items()}
    for name, text in _measured_with(now).items():
        before = joined.get(f"{_PROVENANCE}{name}", "")
        if text not in before.split(", "):
            joined[f"{_PROVENANCE}{name}"] = ", ".join(filter(None, (before, text)))
    return joined
