"""Configuration of a run: a YAML file, overridden from the command line, as one frozen record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from models.spec.base import Record, invalid_of
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
        InvalidSpecError: the file is no mapping in YAML; or a field is unknown or out of range, or does not go with another:
            names it and its value.
        OSError: the file cannot be opened.
    """
    data = stated_fields(cls, path, overrides, base=base)
    return cls.parse(data, source=" ".join(filter(None, ("" if path is None else str(path), _options(overrides)))))


def stated_fields(
    cls: type[Record], path: Path | None = None, overrides: Sequence[str] = (), *, base: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The fields that a file and overrides state, over the base; see `read_config`.

    Each is checked by itself. Whether they go together is not: that may depend on a base that is not known yet.

    Raises:
        InvalidSpecError: the file is no mapping in YAML; or a field is unknown or out of range: names it and its value.
        OSError: the file cannot be opened.
    """
    data: dict[str, Any] = {}
    if path is not None:
        data = _mapping(_parsed(_text(path), str(path)), str(path))
        _check_fields(cls, data, str(path))  # before the overrides, so that what is wrong is looked for in the right place
    for override in overrides:
        name, equals, text = override.partition("=")
        if not (equals and name):
            raise InvalidSpecError(f"{override!r} is no field and value", hint="Write it as search.epochs=30.")
        _put(data, name.split("."), _parsed(text, override), override)
    data = _over(base or {}, data)
    _check_fields(cls, data, _options(overrides))
    return data


def write_config(config: Record, path: Path) -> None:
    """Write what `read_config` reads, every field stated.

    Raises:
        OSError: the file cannot be written.
    """
    path.write_text(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False), encoding="utf-8")


def _options(overrides: Sequence[str]) -> str:
    return " ".join(f"--set {override}" for override in overrides)


def _check_fields(cls: type[Record], data: Mapping[str, Any], source: str) -> None:
    """Raises InvalidSpecError where a field is unknown, missing or out of range. What is wrong with a record as a whole is not
    looked at.
    """
    try:
        cls.model_validate(data)
    except ValidationError as error:
        problems = error.errors(include_url=False)
        if own := [problem for problem in problems if not _of_a_whole(problem)]:
            raise invalid_of(own, cls.__name__, source, record=cls) from error


def _of_a_whole(problem: Mapping[str, Any]) -> bool:
    """Whether fields of a record do not go together, each of which is in range."""
    return problem["type"] == "value_error" and isinstance(problem["input"], Mapping)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InvalidSpecError(f"{path}: not in UTF-8: {error}", hint="Save it in that encoding.") from error


def _parsed(text: str, source: str) -> Any:
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:  # a ValueError for a date that there is not
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
