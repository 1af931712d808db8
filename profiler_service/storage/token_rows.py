"""Tokens, within a transaction that the caller holds."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from profiler_service.errors import TokenConflictError, TokenNotFoundError
from profiler_service.storage.schema import TokenRow
from profiler_service.tokens import Role, StoredToken, Token


def add(session: Session, stored: StoredToken) -> None:
    """Keep a token. Raises TokenConflictError if one of that name is there, valid or not."""
    token = stored.token
    if session.scalar(select(TokenRow.id).where(TokenRow.name == token.name)) is not None:
        raise TokenConflictError(
            f"there is a token {token.name!r} already",
            hint="Choose another name, or remove that one first: `profiler-service token revoke NAME --forget`.",
        )
    session.add(
        TokenRow(
            id=token.id,
            name=token.name,
            role=token.role.value,
            digest=stored.digest,
            created_at=token.created_at,
            expires_at=token.expires_at,
            revoked_at=token.revoked_at,
        )
    )


def every(session: Session) -> list[StoredToken]:
    """All tokens, oldest first, those that have ended included."""
    rows = session.scalars(select(TokenRow).order_by(TokenRow.created_at, TokenRow.id))
    return [StoredToken(_token(row), row.digest) for row in rows]


def revoke(session: Session, name: str, now: datetime) -> Token:
    """End a token now, if it has not been revoked before. Raises TokenNotFoundError."""
    row = _require(session, name)
    row.revoked_at = row.revoked_at or now
    return _token(row)


def forget(session: Session, name: str) -> Token:
    """Delete a token, so that its name is free. Raises TokenNotFoundError."""
    token = _token(_require(session, name))
    session.execute(delete(TokenRow).where(TokenRow.name == name))
    return token


def _require(session: Session, name: str) -> TokenRow:
    row = session.scalar(select(TokenRow).where(TokenRow.name == name))
    if row is None:
        raise TokenNotFoundError(f"no token {name!r}", hint="`profiler-service token list` shows the tokens of a database.")
    return row


def _token(row: TokenRow) -> Token:
    return Token(
        id=row.id,
        name=row.name,
        role=Role(row.role),
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
    )
