"""Tokens: who may call the service, and for what. The database holds their digests, never the tokens themselves."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from models.spec.base import Record, UtcTime
from models.spec.errors import InvalidSpecError

PREFIX = "opclock"
"""Begins every token, so that scanners for leaked secrets and people recognise one."""

SECRET_BYTES = 32
"""Random bytes of a token. 256 bits cannot be guessed, which is also why one pass of SHA-256 protects them well enough:
slow hashes are there for passwords, which can."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_SHAPE = re.compile(PREFIX + r"_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")
_LIFETIME = re.compile(r"(\d{1,5})([hdw])")
_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}
FOR_EVER = "never"


class Role(StrEnum):
    """What a token is good for."""

    READ = "read"
    """Read tables, jobs, metrics and the target; look entries up."""
    PROFILE = "profile"
    """Read, submit jobs, pause and cancel them."""

    def covers(self, needed: Role) -> bool:
        """Whether this role includes the other one."""
        return self is needed or self is Role.PROFILE


class Token(Record):
    """A token as it may be shown to anybody: not the token itself.

    Attributes:
        id: part of the token that is not secret.
        name: who or what holds the token, as audit lines call it.
        role: what the token is good for.
        created_at: when it was made.
        expires_at: when it ends by itself; null for never.
        revoked_at: when it was revoked; null if it was not.
    """

    id: str
    name: str
    role: Role
    created_at: UtcTime
    expires_at: UtcTime | None = None
    revoked_at: UtcTime | None = None

    def ended(self, now: datetime) -> str:
        """Why the token is no longer valid, as the end of a sentence; empty while it is valid."""
        if self.revoked_at is not None:
            return f"was revoked on {self.revoked_at:%Y-%m-%d %H:%M} UTC"
        if self.expires_at is not None and self.expires_at <= now:
            return f"expired on {self.expires_at:%Y-%m-%d %H:%M} UTC"
        return ""


@dataclass(frozen=True)
class StoredToken:
    """What the database holds of a token.

    Attributes:
        token: everything that is not secret.
        digest: SHA-256 of the whole token, in hex digits.
    """

    token: Token
    digest: str


def make_token(name: str, role: Role, *, expires_at: datetime | None, now: datetime | None = None) -> tuple[str, StoredToken]:
    """A new random token, and what the database may hold of it.

    Raises:
        InvalidSpecError: the name has other characters than letters, digits and `._@-`, or is too long.
    """
    if not _NAME.fullmatch(name):
        raise InvalidSpecError(
            f"{name!r} cannot name a token", hint="Use at most 64 letters, digits and ._@-, beginning with a letter or digit."
        )
    identity, secret = secrets.token_hex(6), secrets.token_urlsafe(SECRET_BYTES)
    text = f"{PREFIX}_{identity}_{secret}"
    token = Token(id=identity, name=name, role=role, created_at=now or datetime.now(UTC), expires_at=expires_at)
    return text, StoredToken(token, digest_of(text))


def digest_of(text: str) -> str:
    """What is stored in place of a token."""
    return hashlib.sha256(text.encode()).hexdigest()


def id_of(text: str) -> str | None:
    """The id inside a token; None for what cannot be a token."""
    found = _SHAPE.fullmatch(text)
    return found[1] if found else None


def matches(text: str, stored: StoredToken) -> bool:
    """Whether that is the token. Takes equally long wherever the first difference is."""
    return hmac.compare_digest(digest_of(text), stored.digest)


def parse_lifetime(text: str) -> timedelta | None:
    """`12h`, `90d` or `8w` as a duration, `never` as None. Raises InvalidSpecError."""
    if text == FOR_EVER:
        return None
    found = _LIFETIME.fullmatch(text)
    if found is None or int(found[1]) == 0:
        raise InvalidSpecError(
            f"--expires {text!r} is no time", hint=f"Write it in hours, days or weeks (12h, 90d, 8w), or {FOR_EVER}."
        )
    return int(found[1]) * _UNITS[found[2]]
