"""Text that others wrote, made safe to show: control characters cannot steer a terminal, and addresses show no password."""

from __future__ import annotations

import re

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"

_CONTROLS = re.compile(
    "["
    "\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f"  # C0 and C1, escape among them; not tab and line feed
    "\\u2028\\u2029"  # separators of lines and paragraphs
    "\\u202a-\\u202e\\u2066-\\u2069"  # they change the order in which text is shown
    "\\ud800-\\udfff"  # halves of characters, which no terminal takes
    "]"
)
_USERS = re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^\s]*@", re.IGNORECASE)


def safe_text(text: str) -> str:
    """The text with each control character replaced, and without user and password in the addresses that it names.

    >>> safe_text("no answer from http://me:secret@box:8000")
    'no answer from http://…@box:8000'
    """
    return _USERS.sub(r"\1…@", _CONTROLS.sub(REPLACEMENT, text))


def bare_address(address: str) -> str:
    """An address without user, password, query and fragment, any of which may hold a secret. Anything at all may be given.

    >>> bare_address("http://me:secret@box:8000/?token=x")
    'http://…@box:8000/'
    """
    before, at, rest = address.rpartition("@")
    scheme = re.match(r"[a-z][a-z0-9+.-]*://", before, re.IGNORECASE)
    return (scheme.group() if scheme else "") + ("…@" if at else "") + re.split(r"[?#]", rest, maxsplit=1)[0]
