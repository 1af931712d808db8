"""Search spaces, operator kinds, backends and data sets by name: our own, and those that other packages add.

A package adds names by entry points (`[project.entry-points."opclock.spaces"]` in its pyproject.toml), a module that
`OPCLOCK_PLUGINS` names by calling `register_…` when it is imported. Names are known without importing anything; an object is
imported when its name is used, in every process by itself. Our own names are entry points too. docs/extend.md says how to add
one; `profiler-service doctor` lists all plugins.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import re
import sys
import threading
import tomllib
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, reduce
from importlib import import_module
from importlib.metadata import PackageNotFoundError, distribution, entry_points, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Generic, TypeVar

from models.spec.errors import InvalidSpecError, UnknownNameError, nearest

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

T = TypeVar("T")

_PROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"
_LOCK = threading.RLock()


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
            return _own_origin()
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
        Entry(group, name, value, _own_origin()) for group in GROUPS for name, value in _own_groups().get(group, {}).items()
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
def _own_origin() -> Origin:
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
    with _LOCK:
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


@dataclass(frozen=True)
class Plugin:
    """What one distribution, or one module of `OPCLOCK_PLUGINS`, adds.

    Attributes:
        origin: the distribution, or the module.
        names: by what they are: `{"search space": ["toy"]}`.
        problems: what cannot be used of it, each in one sentence.
    """

    origin: Origin
    names: Mapping[str, list[str]]
    problems: tuple[str, ...] = ()


def plugins(registries: Collection[Registry[Any]]) -> list[Plugin]:
    """All plugins of this environment, in order. Imports what belongs to these registries, and lists what belongs to others."""
    import_modules()
    named: dict[Origin, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    problems: dict[Origin, list[str]] = defaultdict(list)
    for entry in foreign_entries():
        named[entry.origin][GROUPS[entry.group]].append(entry.name)
    for registry in registries:
        for name, origin in registry.registered().items():
            if name not in named[origin][registry.what]:
                named[origin][registry.what].append(name)
        for origin, message in registry.problems():
            problems[origin].append(message)
    for failure in module_failures():
        origin = Origin(failure.module)
        named[origin], problems[origin] = {}, [failure.message]
    return [Plugin(origin, named[origin], tuple(problems[origin])) for origin in sorted(named)]


def plugins_sentence() -> str:
    """The plugins of this environment, for messages: `plugins here: toy-opclock 1.0`."""
    origins = sorted({str(entry.origin) for entry in foreign_entries()})
    modules = [module for module, message in _imported.items() if not message]
    told = [f"plugins here: {', '.join([*origins, *modules]) or 'none'}"]
    return "; ".join([*told, *(failure.message for failure in module_failures())])


class Registry(Generic[T]):
    """The names of one group.

    Args:
        group: of entry points.
        check: returns the object of an entry point as what it should be; raises InvalidSpecError with what is wrong with it.
        module_of: the module in which a registered object was defined.
    """

    def __init__(self, group: str, check: Callable[[str, Any], T], module_of: Callable[[T], str]) -> None:
        self.group, self.what = group, GROUPS[group]
        self._check, self._module_of = check, module_of
        self._loaded: dict[str, T] = {}
        self._registered: dict[str, str] = {}
        """The module that each name was registered by."""
        self._digests: dict[str, str] = {}

    def register(self, name: str, item: T) -> None:
        """Make an object known by its name. The same one may be registered again.

        Raises:
            InvalidSpecError: the name is taken; says by what.
        """
        with _LOCK:
            module = self._module_of(item)
            origin = Origin.of_module(module)
            if name in self._registered:
                if self._loaded[name] != item:
                    raise self._taken(name, origin, Origin.of_module(self._registered[name]))
                return
            if name in self.own_names():
                raise self._taken(name, origin, _own_origin())
            for entry in self._entries(foreign_entries()).get(name, []):
                if entry.origin != origin:
                    raise self._taken(name, origin, entry.origin)
            self._loaded[name], self._registered[name] = item, module

    def names(self) -> list[str]:
        """All known names, sorted. Entry points are not imported."""
        import_modules()
        return sorted({*self.own_names(), *self._loaded, *self._entries(foreign_entries())})

    def registered(self) -> dict[str, Origin]:
        """The names that modules have registered, with what they come from."""
        return {name: Origin.of_module(module) for name, module in self._registered.items()}

    def own_names(self) -> list[str]:
        """Our own, sorted."""
        return sorted(self._entries(own_entries()))

    def get(self, name: str) -> T:
        """The object of that name.

        Raises:
            UnknownNameError: there is none; names the plugins that there are.
            PluginError: its plugin cannot be used.
        """
        found = self._loaded.get(name)
        if found is None:
            with _LOCK:
                found = self._load(name)
        return found

    def origin(self, name: str) -> Origin:
        """What the name comes from. Raises as `get`, but imports no entry point."""
        if name not in self._registered:
            import_modules()
        if name in self._registered:
            return Origin.of_module(self._registered[name])
        return self._entry(name).origin

    def code_digest(self, name: str) -> str:
        """Eight hex digits that change with the plugin's version, and with the module that an object of it is defined in; empty
        for our own names. Raises as `get`.
        """
        if name not in self._digests:
            origin = self.origin(name)
            self._digests[name] = "" if origin.own else _file_digest(origin, self._module_of(self.get(name)))
        return self._digests[name]

    def refused(self) -> list[tuple[Origin, str]]:
        """The names of plugins that are refused, since they are taken, each in one sentence."""
        own, found = self._entries(own_entries()), []
        for name, entries in self._entries(foreign_entries()).items():
            claims = own.get(name, []) + entries
            found += [(entry.origin, _both(entries[0], claims)) for entry in entries if len(claims) > 1]
        return found

    def problems(self) -> Iterator[tuple[Origin, str]]:
        """What is wrong with plugins' names of this group, each in one sentence. Imports all of them."""
        yield from self.refused()
        refused = {name for name, entries in self._entries(foreign_entries()).items() if len(entries) > 1}
        for name, (entry, *_) in self._entries(foreign_entries()).items():
            if name not in refused and name not in self.own_names():
                try:
                    self.get(name)
                except InvalidSpecError as error:
                    yield entry.origin, error.message

    def _load(self, name: str) -> T:
        if name not in self.own_names():
            import_modules()
        if name not in self._loaded:
            entry = self._entry(name)
            item = entry.load()
            try:
                checked = self._check(name, item)
            except InvalidSpecError as error:
                raise PluginError(f"{entry} at {entry.value!r} {error.message}", hint="Repair or uninstall it.") from error
            self._loaded.setdefault(name, checked)
        return self._loaded[name]

    def _entry(self, name: str) -> Entry:
        """Raises UnknownNameError, PluginError."""
        own, foreign = self._entries(own_entries()).get(name, []), self._entries(foreign_entries()).get(name, [])
        if own:
            _warn_of(_both(foreign[0], own + foreign) if foreign else "")
            return own[0]
        if len(foreign) > 1:
            raise PluginError(_both(foreign[0], foreign), hint="Uninstall one of them.")
        if not foreign:
            hint = nearest(name, self.names())
            raise UnknownNameError(f"unknown {self.what} {name!r} ({plugins_sentence()})", hint=hint)
        return foreign[0]

    def _entries(self, entries: tuple[Entry, ...]) -> dict[str, list[Entry]]:
        by_name = defaultdict(list)
        for entry in entries:
            if entry.group == self.group:
                by_name[entry.name].append(entry)
        return by_name

    def _taken(self, name: str, origin: Origin, by: Origin) -> InvalidSpecError:
        return InvalidSpecError(
            f"{self.what} {name!r} of {origin} is refused: {by} has that name already", hint="Choose another name."
        )


def _file_digest(origin: Origin, module: str) -> str:
    """Without importing the module: it may bring torch along."""
    try:
        found = find_spec(module)
    except (ImportError, ValueError):  # whoever imports it is told
        found = None
    source = Path(found.origin).read_bytes() if found is not None and found.origin and Path(found.origin).is_file() else b""
    return hashlib.sha256(f"{origin}\0{module}\0".encode() + source).hexdigest()[:8]


def _both(entry: Entry, claims: list[Entry]) -> str:
    origins = sorted({claim.origin for claim in claims})
    if any(origin.own for origin in origins):
        return f"{entry} is refused: {next(origin for origin in origins if origin.own)} has that name already"
    what = f"{GROUPS[entry.group]} {entry.name!r}"
    return f"{what} is refused: {' and '.join(map(str, origins))} both have that name"


_warned: set[str] = set()


def _warn_of(message: str) -> None:
    """Tell once on stderr; workers are silent, since their parent tells it."""
    if message and message not in _warned and multiprocessing.parent_process() is None:
        _warned.add(message)
        sys.stderr.write(f"warning: {message}\n")


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
