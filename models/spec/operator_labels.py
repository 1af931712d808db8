"""Operators as people write them: `OperatorSpec.label`, read back."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from models.spec.errors import InvalidSpecError
from models.spec.kinds import AttributeValue, KindInfo, kind_info
from models.spec.operators import OperatorSpec

EXAMPLE = "conv3x3 64→96 @128×256 /2"

_ARROW, _TIMES = "(?:→|->)", "[×x]"
_LABEL = re.compile(
    rf"(?P<kind>[^\s@]+)\s+(?P<given>\d+(?:\+\d+)*)\s*{_ARROW}\s*(?P<out>\d+)"
    rf"\s+@\s*(?P<height>\d+){_TIMES}(?P<width>\d+)(?:{_ARROW}(?P<to_height>\d+){_TIMES}(?P<to_width>\d+))?"
    r"(?:\s+/(?P<stride>\d+))?(?P<extras>(?:\s+\w+=\S+)*)\s*"
)


def is_label(text: str) -> bool:
    """Whether a text is meant as an operator's label, right or wrong."""
    return "@" in text and bool(re.search(_ARROW, text))


def parse_label(text: str) -> OperatorSpec:
    """The operator of a label, such as `conv3x3 64→96 @128×256 /2`; `->` and `x` are read as `→` and `×`. Attributes, batch and
    dtype that it does not state are the defaults.

    Raises:
        InvalidSpecError: it is no label; or an operator with such fields is not possible: names the field, its value and what
            is allowed.
    """
    found = _LABEL.fullmatch(text.strip())
    if found is None:
        raise InvalidSpecError(
            f"operator {text!r} is not KIND IN→OUT @HEIGHT×WIDTH /STRIDE NAME=VALUE …",
            hint=f"Write it as {EXAMPLE!r}, then attributes that differ from the kind's defaults, such as kernel=5.",
        )
    info = kind_info(found["kind"])
    channels = [int(part) for part in found["given"].split("+")]
    extras = dict(extra.split("=", 1) for extra in found["extras"].split())
    fields: dict[str, Any] = {name: _number(extras.pop(name)) for name in ("batch",) if name in extras}
    fields |= {name: extras.pop(name) for name in ("dtype",) if name in extras}
    attributes = {name: _value(info, name, value) for name, value in extras.items()}
    attributes |= {name: int(found[name]) for name in ("to_height", "to_width") if found[name]}
    if len(channels) > 1:
        attributes |= _sources(info, channels, text)
    return OperatorSpec.parse(
        {
            "kind": info.name,
            "in_channels": channels[0] if info.sources == "alike" else sum(channels),
            "out_channels": int(found["out"]),
            "height": int(found["height"]),
            "width": int(found["width"]),
            "stride": int(found["stride"] or 1),
            "attributes": attributes,
            **fields,
        },
        source=f"operator {text!r}",
    )


def _sources(info: KindInfo, channels: list[int], text: str) -> Mapping[str, AttributeValue]:
    """The attribute that says how many maps there are. Raises InvalidSpecError."""
    if info.sources == "parts":
        return {"sources": "+".join(map(str, channels))}
    if info.sources == "alike" and len(set(channels)) == 1:
        return {"sources": len(channels)}
    wanted = "maps of the same channels" if info.sources == "alike" else "a single map"
    raise InvalidSpecError(f"operator {text!r}: kind {info.name!r} takes {wanted}, not {'+'.join(map(str, channels))} channels")


def _value(info: KindInfo, name: str, text: str) -> AttributeValue:
    """A value of the attribute's type; what is of no such type stays a string, which the kind refuses by name."""
    known = info.attributes.get(name)
    if known is not None and isinstance(known.default, bool):
        return {"true": True, "false": False}.get(text.lower(), text)
    return _number(text) if known is not None and isinstance(known.default, int) else text


def _number(text: str) -> int | str:
    return int(text) if re.fullmatch(r"-?\d{1,18}", text) else text
