"""The base of every spec: frozen, strict about its fields, with one canonical form and digest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Self, get_args

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, ValidationError

from models.spec.errors import InvalidSpecError, nearest

KEY_VERSION = 1
"""Raised whenever the same spec would come to mean another graph; every key and id starts from it."""


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
            raise _with_known_fields(invalid_from(error, cls.__name__, source), cls, error) from error

    @classmethod
    def parse_json(cls, text: str | bytes, *, source: str = "") -> Self:
        """Validate a JSON document; see `parse`."""
        try:
            data = json.loads(text)
        except ValueError as error:
            where = f"{source}: " if source else ""
            raise InvalidSpecError(f"{where}not a JSON document: {error}", hint="Check that the file is whole.") from error
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


def invalid_of(problems: Sequence[Mapping[str, Any]], what: str = "", source: str = "") -> InvalidSpecError:
    """One error of ours from pydantic's list of problems: the first in full, the others counted."""
    first = problems[0]
    cause = first.get("ctx", {}).get("error")
    kind, hint = InvalidSpecError, "Correct the field and try again."
    text = "there is no such field" if first["type"] == "extra_forbidden" else first["msg"].removeprefix("Value error, ")
    if isinstance(cause, InvalidSpecError):
        kind, text, hint = type(cause), cause.message, cause.hint or hint
    field = ".".join(str(part) for part in first["loc"])
    shown = "" if isinstance(first["input"], Mapping | BaseModel) else f" (got {_short(first['input'])})"
    more = f"; {len(problems) - 1} more" if len(problems) > 1 else ""
    where = f"{source}: " if source else ""
    named = ".".join(filter(None, (what, field)))
    return kind(f"{where}{named}: {text}{shown}{more}", hint=hint)


def _with_known_fields(refusal: InvalidSpecError, record: type[BaseModel], error: ValidationError) -> InvalidSpecError:
    """The same, with the fields that there are as its hint where the first problem is a field that there is not."""
    first = error.errors(include_url=False)[0]
    *outer, name = first["loc"] or ("",)
    owner = _record_at(record, outer) if first["type"] == "extra_forbidden" else None
    if owner is not None:
        refusal.hint = nearest(str(name), owner.model_fields)
    return refusal


def _record_at(record: type[BaseModel], path: Sequence[int | str]) -> type[BaseModel] | None:
    """The kind of record that lies there; None where several may, or a mapping's names lead there."""
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


def digest(what: str, value: Any) -> str:
    """First 16 hex digits of SHA-256 over the key version, what is named, and its canonical JSON."""
    text = canonical_json([KEY_VERSION, what, value])
    return hashlib.sha256(text.encode()).hexdigest()[:16]
