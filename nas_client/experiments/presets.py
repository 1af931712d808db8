"""How the runs of an experiment are configured: a preset, over what the search space states, under what the user states."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from models.spaces.registry import space_class
from models.spaces.search_defaults import SearchDefaults
from models.spec.base import Record
from models.spec.errors import InvalidSpecError
from nas_client.runs.config import read_config

Config = TypeVar("Config", bound=Record)

_SEEDS = ("seed", "search.seed", "training.seed")


def configured(
    cls: type[Config],
    space: str,
    preset: Mapping[str, Any],
    overrides: Sequence[str] = (),
    *,
    part: Literal["search", "training"] | None = None,
    path: Path | None = None,
) -> Config:
    """The configuration that a preset and overrides state; what neither does is as the space says.

    Args:
        cls: of the configuration.
        space: name of the search space.
        preset: fields. Its learning rates are for the optimisers that spaces have by default (`without_other_rates`); a second
            phase of searches, where the space has one, is as long as the first (`with_second_phase`).
        overrides: fields, as of `--set`; not a seed, since each run gets its own.
        part: whether the configuration is of searches or of trainings; of both, in fields of these names, where None.
        path: a file that replaces the preset.

    Raises:
        InvalidSpecError: a field is none of the configuration's, or out of range, or an override states a seed.
        OSError: the file cannot be read.
    """
    for override in overrides:
        if (name := override.partition("=")[0]) in _SEEDS:
            raise InvalidSpecError(
                f"{override!r}: the experiment sets {name} itself",
                hint="Leave it out: runs have the seeds that --seeds says, and those of `experiment random` their searches'.",
            )
    base, usual = _stated_by(space_class(space).search_defaults), _stated_by(SearchDefaults())
    if part is not None:
        base, usual = base[part], usual[part]
    if part is None and "search" in preset:
        preset = {**preset, "search": with_second_phase(preset["search"], base["search"])}
    elif part == "search":
        preset = with_second_phase(preset, base)
    stated = flat(without_other_rates(preset, base, usual)) if path is None else ()
    return read_config(cls, path, [*stated, *overrides], base=base)


def _stated_by(defaults: SearchDefaults) -> dict[str, Any]:
    return {"search": defaults.model_dump(exclude={"training"}), "training": defaults.training.model_dump()}


def with_second_phase(search: Mapping[str, Any], stated: Mapping[str, Any]) -> dict[str, Any]:
    """A preset's fields of a search, with those of a second phase where there is one: what it states of the first.

    Args:
        search: of the preset.
        stated: what they are put over.
    """
    if not stated["second"]["epochs"] or "search" not in search:
        return dict(search)
    return {"second": search["search"], **search}


def without_other_rates(fields: Mapping[str, Any], stated: Mapping[str, Any], usual: Mapping[str, Any]) -> dict[str, Any]:
    """A preset's fields without the learning rates of optimisers that step by another method than those it was made for.

    Args:
        fields: of the preset.
        stated: what they are put over.
        usual: what the preset was made for.
    """
    other = stated.get("method") != usual.get("method")
    found = {}
    for name, value in fields.items():
        if isinstance(value, Mapping):
            found[name] = without_other_rates(value, stated.get(name, {}), usual.get(name, {}))
        elif not (other and name == "lr"):
            found[name] = value
    return found


def flat(fields: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Nested fields as overrides of a configuration: `search.epochs=10`."""
    for name, value in fields.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}={json.dumps(value)}"
