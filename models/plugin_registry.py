"""A registry of names: our own, those of plugins' entry points, and those that modules of `OPCLOCK_PLUGINS` register."""

from __future__ import annotations

import hashlib
import multiprocessing
import sys
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Generic, TypeVar

from models.plugins import (
    GROUPS,
    LOCK,
    Entry,
    Origin,
    PluginError,
    foreign_entries,
    import_modules,
    module_failures,
    own_entries,
    own_origin,
    plugins_sentence,
)
from models.spec.errors import InvalidSpecError, UnknownNameError, nearest

T = TypeVar("T")


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
        with LOCK:
            module = self._module_of(item)
            origin = Origin.of_module(module)
            if name in self._registered:
                if self._loaded[name] != item:
                    raise self._taken(name, origin, Origin.of_module(self._registered[name]))
                return
            if name in self.own_names():
                raise self._taken(name, origin, own_origin())
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
            with LOCK:
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
