"""Making, listing and revoking tokens."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from models.spec.errors import InvalidSpecError
from profiler_service.cli.commands import app
from profiler_service.errors import TokenConflictError, TokenNotFoundError
from profiler_service.storage.store import Store
from profiler_service.tokens import Role, id_of, matches


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "opclock.sqlite"


def token(database: Path, *arguments: str) -> str:
    ended = CliRunner().invoke(app, ["token", *arguments, "--database", str(database)], catch_exceptions=False)
    assert ended.exit_code == 0, ended.output
    return ended.stdout


def test_a_token_is_printed_once_and_alone(database: Path) -> None:
    text = token(database, "create", "ci", "--role", "profile").strip()
    with Store.open(database) as store:
        (stored,) = store.tokens()
    assert stored.token.id == id_of(text)
    assert matches(text, stored)
    assert (stored.token.name, stored.token.role) == ("ci", Role.PROFILE)
    listed = token(database, "list")
    assert "ci" in listed
    assert text.rpartition("_")[2] not in listed
    assert stored.digest not in token(database, "list", "--json")


def test_tokens_are_never_the_same(database: Path) -> None:
    made = {token(database, "create", f"t{number}", "--role", "read") for number in range(3)}
    assert len(made) == 3


@pytest.mark.parametrize(
    ("arguments", "lifetime"),
    [([], timedelta(days=90)), (["--expires", "12h"], timedelta(hours=12)), (["--expires", "8w"], timedelta(weeks=8))],
)
def test_a_token_ends_by_itself(database: Path, arguments: list[str], lifetime: timedelta) -> None:
    made: dict[str, Any] = json.loads(token(database, "create", "ci", "--role", "read", "--json", *arguments))
    until = datetime.fromisoformat(made["expires_at"]) - datetime.fromisoformat(made["created_at"])
    assert until == lifetime
    assert made["valid"]


def test_a_token_may_last(database: Path) -> None:
    made = json.loads(token(database, "create", "ci", "--role", "read", "--json", "--expires", "never"))
    assert made["expires_at"] is None
    assert "valid for ever" in token(database, "list")


def test_a_revoked_token_stays_in_the_list_until_it_is_forgotten(database: Path) -> None:
    token(database, "create", "ci", "--role", "read")
    token(database, "revoke", "ci")
    (listed,) = json.loads(token(database, "list", "--json"))["tokens"]
    assert not listed["valid"]
    assert datetime.fromisoformat(listed["revoked_at"]) <= datetime.now(UTC)
    token(database, "revoke", "ci", "--forget")
    assert json.loads(token(database, "list", "--json"))["tokens"] == []
    assert "this machine only" in token(database, "list")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (["create", "a b", "--role", "read"], InvalidSpecError, "'a b' cannot name a token"),
        (["create", "", "--role", "read"], InvalidSpecError, "cannot name a token"),
        (["create", "ci", "--role", "read", "--expires", "5y"], InvalidSpecError, "--expires '5y' is no time"),
        (["create", "ci", "--role", "read", "--expires", "0d"], InvalidSpecError, "--expires '0d' is no time"),
        (["create", "twice", "--role", "read"], TokenConflictError, "there is a token 'twice' already"),
        (["revoke", "nobody"], TokenNotFoundError, "no token 'nobody'"),
    ],
)
def test_refusals(database: Path, arguments: list[str], error: type[Exception], message: str) -> None:
    token(database, "create", "twice", "--role", "read")
    with pytest.raises(error, match=message):
        token(database, *arguments)
