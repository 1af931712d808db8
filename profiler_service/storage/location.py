"""Where a database is: an SQLite file, or a PostgreSQL server's URL, whose passwords are never shown."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TypeAlias
from urllib.parse import unquote, urlsplit

from models.spec.errors import UnshownValueError

_SCHEMES = ("postgresql://", "postgres://")
_HOST = r"(?:\[[0-9A-Fa-f:.%]+\]|[^\[\]:,/?@#]*)(?::[0-9]{1,5})?"
_URL = re.compile(
    rf"(?P<scheme>postgres(?:ql)?://)(?:(?P<user>[^:/@]*)(?::(?P<password>[^/@]*))?@)?(?P<hosts>{_HOST}(?:,{_HOST})*)"
    r"(?:/(?P<name>[^/?@#]*))?(?:\?(?P<options>[^#]*))?"
)
_SECRET_OPTIONS = frozenset({"password", "sslpassword"})
_HIDDEN = "***"


class PostgresUrl:
    """A PostgreSQL database, as libpq's connection URIs name it.

    As text it is the same URL without passwords; only `secret()` has them. The user stands among the options there, since
    messages hide whatever stands before an @ (`models.safe_text`). What a URL leaves out, libpq takes from its own variables
    and files, as PGPASSWORD and ~/.pgpass.

    Args:
        text: `postgresql://USER:PASSWORD@HOST:PORT/NAME?OPTION=VALUE`; every part but the scheme may be missing.

    Raises:
        UnshownValueError: it is no such URL. The message does not repeat it.

    >>> str(PostgresUrl("postgresql://me:secret@box/opclock?sslpassword=key&sslmode=require"))
    'postgresql://box/opclock?sslmode=require&user=me'
    """

    __slots__ = ("_secrets", "_shown", "_text", "name")

    def __init__(self, text: str) -> None:
        parts = _URL.fullmatch(text)
        if parts is None:
            raise UnshownValueError(
                "not a URL of a PostgreSQL database",
                hint="Write postgresql://USER@HOST:PORT/NAME; in a name or password write %40 for @, %2F for /, %3A for :. "
                "Passwords are better off in PGPASSWORD or ~/.pgpass.",
            )
        self._text = text
        self.name = unquote(parts["name"] or "")
        user, password, options = parts["user"], parts["password"], parts["options"]
        place = parts["hosts"] + ("" if parts["name"] is None else f"/{parts['name']}")
        pairs = [] if options is None else [option.partition("=") for option in options.split("&")]
        secrets = [password or "", *(value for key, _, value in pairs if unquote(key) in _SECRET_OPTIONS)]
        self._secrets = tuple({form for secret in secrets if secret for form in (secret, unquote(secret))})
        shown = ["".join(pair) for pair in pairs if unquote(pair[0]) not in _SECRET_OPTIONS]
        shown += [f"user={user}"] if user else []
        self._shown = f"{parts['scheme']}{place}" + ("?" + "&".join(shown) if shown else "")

    def secret(self) -> str:
        """The URL with its passwords, for libpq alone."""
        return self._text

    def without_secrets(self, text: str) -> str:
        """A message of libpq's or the server's without the URL's passwords."""
        text = text.replace(self._text, self._shown)
        for secret in self._secrets:
            text = text.replace(secret, _HIDDEN)
        return text

    def __str__(self) -> str:
        """The URL without its passwords."""
        return self._shown

    def __repr__(self) -> str:
        """As the text."""
        return f"PostgresUrl({self._shown!r})"

    def __eq__(self, other: object) -> bool:
        """Whether they are the same, passwords included."""
        return isinstance(other, PostgresUrl) and self._text == other._text

    def __hash__(self) -> int:
        """Of the whole URL."""
        return hash(self._text)


Location: TypeAlias = Path | PostgresUrl
"""A database: an SQLite file, or a PostgreSQL URL."""


def location_of(value: object) -> object:
    """A location from text, for validators; what is neither text nor a path is given back as it is.

    Raises:
        UnshownValueError: a URL that is not of PostgreSQL. The message does not repeat it, since it may hold a password.
    """
    if isinstance(value, str) and value.startswith(_SCHEMES):
        return PostgresUrl(value)
    text = str(value)
    if isinstance(value, str | Path) and (scheme := urlsplit(text).scheme) and text.startswith((f"{scheme}:/", f"{scheme}://")):
        raise UnshownValueError(
            f"{scheme}: is no kind of database here",
            hint="Name a file, or give a URL as text: postgresql://USER@HOST/NAME.",
        )
    return Path(value) if isinstance(value, str) else value


def make_room(location: Location) -> None:
    """Make the directory of a file that does not exist yet. Raises OSError."""
    if isinstance(location, Path):
        location.parent.mkdir(parents=True, exist_ok=True)
