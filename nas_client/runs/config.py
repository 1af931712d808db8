"""Configuration of a run: a YAML file, overridden from the command line, as one frozen record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml

from models.spec.base import Record
from models.spec.errors import InvalidSpecError

Config = TypeVar("Config", bound=Record)


def read_config(
    cls: type[Config], path: Path | None = None, overrides: Sequence[str] = (), *, base: Mapping[str, Any] | None = None
) -> Config:
    """The configuration that a file and overrides state; what neither does is at its default.

    Args:
        cls: of the configuration.
        path: YAML file with some of its fields.
        base: fields that neither states, instead of the class's defaults: such as a search space's.
        overrides: such as `optimizer.lr=0.01`: a field, by dots where it is nested, and its value in YAML.

    Raises:
        InvalidSpecError: the file is no mapping in YAML; or a field is unknown or out of range: names it and its value.
        OSError: the file cannot be opened.
    """
    data: dict[str, Any] = {}
    if path is not None:
        data = _mapping(_parsed(path.read_text(encoding="utf-8"), str(path)), str(path))
        cls.parse(data, source=str(path))  # before the overrides, so that what is wrong is looked for in the right place
    for override in overrides:
        name, equals, text = override.partition("=")
        if not (equals and name):
            raise InvalidSpecError(f"{override!r} is no field and value", hint="Write it as search.epochs=30.")
        _put(data, name.split("."), _parsed(text, override), override)
    data = _over(base or {}, data)
    return cls.parse(data, source=" ".join(f"--set {override}" for override in overrides))


def write_config(config: Record, path: Path) -> None:
    """Write what `read_config` reads, every field stated.

    Raises:
        OSError: the file cannot be written.
    """
    path.write_text(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False), encoding="utf-8")


def _parsed(text: str, source: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InvalidSpecError(f"{source}: not YAML: {error}", hint="Check its indentation and quotes.") from error


def _mapping(data: Any, source: str) -> dict[str, Any]:
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise InvalidSpecError(
            f"{source}: a mapping of fields is needed, not {type(data).__name__}", hint="Write it as `search: {epochs: 30}`."
        )
    return data


def _over(base: Mapping[str, Any], data: dict[str, Any]) -> dict[str, Any]:
    """The data, with what the base states besides, at every depth."""
    found = dict(data)
    for name, value in base.items():
        if name not in data:
            found[name] = value
        elif isinstance(value, Mapping) and isinstance(data[name], dict):
            found[name] = _over(value, data[name])
    return found


def _put(data: dict[str, Any], names: list[str], value: Any, source: str) -> None:
    *outer, last = names
    for name in outer:
        data = _mapping(data.setdefault(name, {}), source)
    data[last] = value
