"""The base of every spec: frozen, strict about its fields, with one canonical form and digest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Self, get_args

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, ValidationError

from models.spec.errors import InvalidSpecError, UnshownValueError, nearest

KEY_VERSION = 1
"""Raised whenever the same spec would come to mean another graph; every key and id starts from it, or from a version of its
own."""


class Record(BaseModel):
    """A frozen record without unknown fields; numbers must be finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def parse(cls, data: object, *, source: str = "") -> Self:
        """Validate plain data.

        Args:
            data: a mapping or JSON-like value.
            source: where the data came from, named in the message.

        Raises:
            InvalidSpecError: names the field, its value and what is allowed.
        """
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise invalid_of(error.errors(include_url=False), cls.__name__, source, record=cls) from error

    @classmethod
    def parse_json(cls, text: str | bytes, *, source: str = "") -> Self:
        """Validate a JSON document; see `parse`."""
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
            where = f"{source}: " if source else ""
            raise InvalidSpecError(f"{where}not a JSON document: {error}", hint="Check that the file is complete.") from error
        return cls.parse(data, source=source)


def _in_utc(time: datetime) -> datetime:
    try:
        return time.astimezone(UTC)
    except OverflowError as error:
        raise InvalidSpecError(f"{time.isoformat()} lies outside the calendar in UTC") from error


UtcTime = Annotated[AwareDatetime, AfterValidator(_in_utc)]
"""An instant. One without a time zone is refused, one of another zone converted, so that instants compare and sort."""


def invalid_from(error: ValidationError, what: str, source: str = "") -> InvalidSpecError:
    """One error of ours from pydantic's; see `invalid_of`."""
    return invalid_of(error.errors(include_url=False), what, source)


def invalid_settings(error: ValidationError, what: str, *, prefix: str, chosen: Collection[str]) -> InvalidSpecError:
    """As `invalid_from`, for settings that come from environment variables with that prefix unless they were chosen. A setting
    that was not chosen is named by its variable.
    """
    name = str(next(iter(error.errors(include_url=False)[0]["loc"]), ""))
    variable = f"{prefix}{name.upper()}" if name and name not in chosen else ""
    return invalid_from(error, what, variable)


def invalid_of(
    problems: Sequence[Mapping[str, Any]],
    what: str = "",
    source: str = "",
    *,
    record: type[BaseModel] | None = None,
    below: int = 0,
) -> InvalidSpecError:
    """One error of ours from pydantic's list of problems: the first in full, the others counted.

    Args:
        problems: as pydantic lists them.
        what: was validated.
        source: where it came from.
        record: what the fields are of; the nearest one to an unknown field is then offered.
        below: parts of a field's path that lead to the record.
    """
    first = _most_informative(problems)
    cause = first.get("ctx", {}).get("error")
    kind, hint = InvalidSpecError, "Correct the field and try again."
    text = first["msg"].removeprefix("Value error, ")
    if isinstance(cause, InvalidSpecError):
        kind, text, hint = type(cause), cause.message, cause.hint or hint
    if first["type"] == _UNKNOWN:
        text, hint = "there is no such field", _known_fields(record, first["loc"][below:]) or hint
    field = ".".join(str(part) for part in first["loc"])
    unshown = isinstance(first["input"], Mapping | BaseModel) or isinstance(cause, UnshownValueError)
    shown = "" if unshown else f" (got {_short(first['input'])})"
    more = f"; {len(problems) - 1} more" if len(problems) > 1 else ""
    where = f"{source}: " if source else ""
    named = ".".join(filter(None, (what, field)))
    return kind(f"{where}{named}: {text}{shown}{more}", hint=hint)


_MISSING, _UNKNOWN = "missing", "extra_forbidden"


def _most_informative(problems: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The first problem; but an unknown field goes before a missing one beside it, because it may be the misspelt field."""
    first = problems[0]
    if first["type"] == _MISSING:
        beside = (problem for problem in problems if problem["loc"][:-1] == first["loc"][:-1])
        return next((problem for problem in beside if problem["type"] == _UNKNOWN), first)
    return first


def _known_fields(record: type[BaseModel] | None, path: Sequence[int | str]) -> str:
    """A hint for the unknown field at that path; empty where the known fields cannot be found."""
    if record is None or not path:
        return ""
    owner = _record_at(record, path[:-1])
    return "" if owner is None else nearest(str(path[-1]), owner.model_fields)


def _record_at(record: type[BaseModel], path: Sequence[int | str]) -> type[BaseModel] | None:
    """The type of the record at that path; None if there are several, or if a mapping lies on the path."""
    for name in path:
        if isinstance(name, str):
            field = record.model_fields.get(name)
            found = [] if field is None else list(_records_in(field.annotation))
            if len(found) != 1:
                return None
            (record,) = found
    return record


def _records_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """The kinds of records that a type is made of: `tuple[Entry, ...]` of one."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _records_in(part)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def differences(mine: Record, theirs: Record) -> list[str]:
    """Each field in which two records of one kind differ, as `threads: 1 here, 4 there`; those of mappings by name."""
    here, there = _flat(mine), _flat(theirs)
    absent = "absent"
    return [
        f"{name}: {here.get(name, absent)} here, {there.get(name, absent)} there"
        for name in sorted(here.keys() | there.keys())
        if here.get(name) != there.get(name)
    ]


def _flat(record: Record) -> dict[str, str]:
    return dict(_named("", record.model_dump(mode="json")))


def _named(prefix: str, fields: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in fields.items():
        if isinstance(value, dict):
            yield from _named(f"{prefix}{name}.", value)
        else:
            yield prefix + name, str(value)


def canonical_json(value: Any) -> str:
    """The one JSON text of a value: sorted names, no spaces, ASCII, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def digest(what: str, value: Any, *, version: int = KEY_VERSION) -> str:
    """First 16 hex digits of SHA-256 over the key version, what is named, and its canonical JSON."""
    return short_digest(digest_text(what, value, version=version))


def digest_text(what: str, value: Any, *, version: int = KEY_VERSION) -> str:
    """The text over which `digest` goes."""
    return canonical_json([version, what, value])


def short_digest(text: str) -> str:
    """First 16 hex digits of SHA-256 over a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]
