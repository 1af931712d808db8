"""`token create`, `token list`, `token revoke`: who may call the service (docs/access.md)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table as Grid

from models.terminal import Json, emit, print_unwrapped
from profiler_service.cli.arguments import Database
from profiler_service.cli.runtime import load_settings, open_existing_store, open_store
from profiler_service.tokens import Role, Token, make_token, parse_lifetime

app = typer.Typer(help="Make, list and revoke the tokens of those who may call the service.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the token's holder, as audit lines show it.")]


@app.command()
def create(
    name: Name,
    role: Annotated[Role, typer.Option(help="read: look at tables and jobs. profile: also submit and cancel jobs.")],
    expires: Annotated[
        str, typer.Option(metavar="TIME", help="When the token ends by itself: 12h, 90d, 8w, or never.")
    ] = "90d",
    database: Database = None,
    json: Json = False,
) -> None:
    """Make a token and print it. It is shown this once, because the database holds only its digest."""
    settings = load_settings(database=database)
    lifetime = parse_lifetime(expires)
    now = datetime.now(UTC)
    text, stored = make_token(name, role, expires_at=None if lifetime is None else now + lifetime, now=now)
    with open_store(settings) as store:
        store.add_token(stored)
    document = _document(stored.token, now) | {"token": text, "database": str(settings.database)}
    emit(document, as_json=json, text=lambda console: console.print(text, soft_wrap=True))


@app.command("list")
def list_tokens(database: Database = None, json: Json = False) -> None:
    """List the tokens, those that have ended included. Their secrets are not shown; nobody has them but their holders."""
    now = datetime.now(UTC)
    with open_existing_store(load_settings(database=database)) as store:
        found = [stored.token for stored in store.tokens()]
    emit(
        {"tokens": [_document(token, now) for token in found]},
        as_json=json,
        text=lambda console: _print(console, found, now),
    )


@app.command()
def revoke(
    name: Name,
    forget: Annotated[
        bool,
        typer.Option(
            "--forget", help="Delete the token, so that its name is free. Without any token, a service on loopback is open."
        ),
    ] = False,
    database: Database = None,
    json: Json = False,
) -> None:
    """End a token. A running service refuses it from the next second on."""
    with open_existing_store(load_settings(database=database)) as store:
        token = store.forget_token(name) if forget else store.revoke_token(name)
    document = _document(token, datetime.now(UTC)) | {"forgotten": forget}
    told = f"token {token.name} is forgotten" if forget else f"token {token.name} is revoked"
    emit(document, as_json=json, text=lambda console: console.print(told, markup=False, highlight=False))


def _document(token: Token, now: datetime) -> dict[str, Any]:
    return token.model_dump(mode="json") | {"valid": not token.ended(now)}


def _print(console: Console, tokens: list[Token], now: datetime) -> None:
    if not tokens:
        console.print("There are no tokens; a service on this database serves this machine only.")
        return
    grid = Grid("name", "role", "id", "made", "state")
    for token in tokens:
        until = "valid for ever" if token.expires_at is None else f"valid until {token.expires_at:%Y-%m-%d %H:%M} UTC"
        grid.add_row(token.name, token.role.value, token.id, f"{token.created_at:%Y-%m-%d}", token.ended(now) or until)
    print_unwrapped(console, grid)
