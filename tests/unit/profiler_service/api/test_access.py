"""Nobody gets in who should not: tokens, roles, names of the service, pages of other sites."""

from __future__ import annotations

import hashlib
import logging
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import structlog
from fastapi import FastAPI
from starlette.testclient import TestClient
from structlog.testing import capture_logs

from profiler_service.api import access
from profiler_service.api.access import TokenBook, is_public, role_for
from profiler_service.api.app import create_app
from profiler_service.errors import StorageError
from profiler_service.logs import configure_logs
from profiler_service.settings import LogForm, Settings
from profiler_service.storage.store import Store
from profiler_service.tokens import Role, make_token
from tests.unit.profiler_service.api.conftest import BACKEND, IdleQueue
from tests.unit.profiler_service.api.test_errors import JOB, detail


@pytest.fixture(autouse=True)
def always_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens are read anew for each request, so that no test waits."""
    monkeypatch.setattr(access, "FRESH_S", 0.0)


def token(store: Store, role: Role = Role.PROFILE, *, expires_at: datetime | None = None, name: str | None = None) -> str:
    text, stored = make_token(name or role.value, role, expires_at=expires_at)
    store.add_token(stored)
    return text


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


@pytest.fixture
def exposed(settings: Settings, store: Store, queue: IdleQueue) -> Iterator[TestClient]:
    """A service that others than this machine can reach."""
    app = create_app(settings, store=store, queue=queue, backend=BACKEND, exposed=True)  # type: ignore[arg-type]
    with TestClient(app) as client:
        yield client


def calls(app: FastAPI) -> list[tuple[str, str]]:
    """Every call of the OpenAPI document, and some paths that are not in it."""
    found = [(method.upper(), path) for path, methods in app.openapi()["paths"].items() for method in methods]
    assert len(found) >= 13
    unknown = [("GET", "/v1/nothing"), ("POST", "/v1/nothing"), ("PUT", "/v1/jobs"), ("GET", "/admin"), ("PATCH", "/healthz")]
    return found + unknown


def statuses(client: TestClient, headers: dict[str, str]) -> dict[tuple[str, str], int]:
    return {
        (method, path): client.request(
            method, path.format(job_id="a", table_id="a"), headers=headers, **({"json": {}} if method == "POST" else {})
        ).status_code
        for method, path in calls(client.app)  # type: ignore[arg-type]
    }


PUBLIC = {("GET", "/healthz"), ("GET", "/readyz")}
"""Calls of the document that need no token. Whoever adds one has to add it here as well."""

CHANGES = {
    ("POST", "/v1/jobs"),
    ("DELETE", "/v1/jobs/{job_id}"),
    ("PUT", "/v1/jobs/{job_id}/pause"),
    ("PUT", "/v1/jobs/{job_id}/resume"),
    ("POST", "/v1/tables/{table_id}/validations"),
}
"""Calls of the document that a token of role `read` may not make."""


STRANGER = bearer("opclock_000000000000_" + "A" * 43)


@pytest.mark.parametrize("headers", [{}, STRANGER, bearer(""), {"Authorization": "Basic YTpi"}])
def test_without_a_valid_token_every_call_is_refused(exposed: TestClient, store: Store, headers: dict[str, str]) -> None:
    token(store)
    found = statuses(exposed, headers)
    allowed = {call for call, status in found.items() if status != 401}
    assert allowed == (set() if headers else PUBLIC)


def test_a_token_to_read_changes_nothing(exposed: TestClient, store: Store) -> None:
    found = statuses(exposed, bearer(token(store, Role.READ)))
    refused = {call for call, status in found.items() if status == 403}
    assert refused == CHANGES | {("POST", "/v1/nothing"), ("PUT", "/v1/jobs"), ("PATCH", "/healthz")}
    assert 401 not in found.values()
    assert store.jobs() == []


def test_a_token_to_profile_may_do_everything(exposed: TestClient, store: Store) -> None:
    headers = bearer(token(store, Role.PROFILE))
    assert {401, 403}.isdisjoint(statuses(exposed, headers).values())
    assert exposed.post("/v1/jobs", json=JOB, headers=headers).status_code == 202


def test_what_is_not_known_to_read_is_taken_to_change() -> None:
    assert role_for("GET", "/v1/tables") is role_for("POST", "/v1/lookup") is Role.READ
    assert role_for("POST", "/v1/lookups") is role_for("BREW", "/healthz") is Role.PROFILE
    assert not is_public("POST", "/healthz")
    assert not is_public("GET", "/healthz/")
    assert not is_public("GET", "/v1/tables")


def test_refusals_say_what_to_send(exposed: TestClient, store: Store) -> None:
    nobody = exposed.get("/v1/tables")
    assert detail(nobody).code == "unauthenticated"
    assert nobody.headers["WWW-Authenticate"] == 'Bearer realm="opclock"'
    assert "Authorization: Bearer TOKEN" in detail(nobody).hint
    assert "profiler-service token create" in detail(nobody).hint
    stranger = exposed.get("/v1/tables", headers=STRANGER)
    assert stranger.headers["WWW-Authenticate"] == 'Bearer realm="opclock", error="invalid_token"'
    reader = exposed.post("/v1/jobs", json=JOB, headers=bearer(token(store, Role.READ)))
    assert detail(reader).code == "forbidden"
    assert detail(reader).message == "token 'read' has the role 'read'; POST /v1/jobs needs 'profile'"
    assert 'error="insufficient_scope", scope="profile"' in reader.headers["WWW-Authenticate"]


def test_tokens_end(exposed: TestClient, store: Store) -> None:
    expired = token(store, expires_at=datetime.now(UTC) - timedelta(seconds=1), name="old")
    revoked = token(store, name="lost")
    assert exposed.get("/v1/tables", headers=bearer(revoked)).status_code == 200
    store.revoke_token("lost")
    for text, what in ((expired, "token 'old' expired on"), (revoked, "token 'lost' was revoked on")):
        refused = exposed.get("/v1/tables", headers=bearer(text))
        assert refused.status_code == 401
        assert detail(refused).message.startswith(what)


@pytest.mark.parametrize("change", [lambda t: t[:-1], lambda t: t + "A", lambda t: t.lower(), lambda t: t[:-1] + "é"])
def test_nearly_a_token_is_none(exposed: TestClient, store: Store, change: Any) -> None:
    headers = {b"Authorization": f"Bearer {change(token(store))}".encode()}
    assert exposed.get("/v1/tables", headers=headers).status_code == 401  # type: ignore[arg-type]


def test_two_authorization_headers_are_not_chosen_from(exposed: TestClient, store: Store) -> None:
    good = f"Bearer {token(store)}"
    assert exposed.get("/v1/tables", headers=[("Authorization", good), ("Authorization", "Bearer x")]).status_code == 401


def test_the_database_holds_no_token(store: Store, settings: Settings) -> None:
    text = token(store)
    with sqlite3.connect(settings.database) as connection:
        (row,) = connection.execute("SELECT * FROM tokens").fetchall()
    connection.close()
    assert text.rpartition("_")[2] not in str(row)
    assert hashlib.sha256(text.encode()).hexdigest() in row
    files = [settings.database, *settings.database.parent.glob(f"{settings.database.name}-*")]
    assert all(text.encode()[-20:] not in path.read_bytes() for path in files)


def test_on_loopback_a_service_is_open_until_the_first_token_is_made(client: TestClient, store: Store) -> None:
    assert client.get("/v1/tables").status_code == 200
    assert client.post("/v1/jobs", json=JOB).status_code == 202
    text = token(store)
    assert client.get("/v1/tables").status_code == 401
    assert client.get("/v1/tables", headers=bearer(text)).status_code == 200
    store.revoke_token("profile")
    assert client.get("/v1/tables").status_code == 401, "opened by taking the last token away"
    store.forget_token("profile")
    assert client.get("/v1/tables").status_code == 200


def test_an_exposed_service_never_opens(exposed: TestClient, store: Store) -> None:
    assert store.tokens() == []
    assert exposed.get("/v1/tables").status_code == 401


def test_tokens_that_cannot_be_read_let_nobody_in(client: TestClient, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise StorageError("the database is damaged", hint="Restore it.")

    monkeypatch.setattr(store, "tokens", broken)
    refused = client.get("/v1/tables")
    assert refused.status_code == 503
    assert detail(refused).message == "the database is damaged"
    assert client.get("/healthz").status_code == 200


def test_tokens_are_read_once_a_second(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "FRESH_S", 1.0)
    now = 100.0
    monkeypatch.setattr(access.time, "monotonic", lambda: now)
    book = TokenBook(store)
    assert book.fresh() is None
    assert book.read() == {}
    token(store)
    assert book.fresh() == book.read() == {}
    now += 1.0
    assert book.fresh() is None
    assert len(book.read()) == 1


def test_who_has_no_token_is_not_told_what_is_wrong(exposed: TestClient, store: Store, settings: Settings) -> None:
    text = token(store)
    settings.database.rename(settings.database.with_suffix(".gone"))
    anonymous, known = exposed.get("/readyz"), exposed.get("/readyz", headers=bearer(text))
    assert anonymous.status_code == known.status_code == 503
    assert str(settings.database) not in anonymous.text
    assert str(settings.database) in known.text


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8731", "127.0.0.1.evil.example", "localhost.evil.example", "box", "", "a b", "10.9.8.7",
     "localhost@evil.example", "[::2]", "localhost:8731:1", "testserver.evil"],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/v1/tables", "/healthz", "/", "/docs", "/nothing"])
def test_another_name_is_not_answered(client: TestClient, host: str, path: str) -> None:
    refused = client.get(path, headers={"Host": host}, follow_redirects=False)
    assert refused.status_code == 403
    assert "OPCLOCK_ALLOWED_HOSTS" in detail(refused).hint
    assert "Location" not in refused.headers


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:1", "127.0.0.1:8731", "[::1]:8731", "[::1]", "localhost.", "testserver", "box.lab:80"]
)
def test_its_own_names_are(settings: Settings, store: Store, queue: IdleQueue, host: str) -> None:
    settings = settings.model_copy(update={"allowed_hosts": ("Box.lab",)})
    app = create_app(settings, store=store, queue=queue, backend=BACKEND)  # type: ignore[arg-type]
    with TestClient(app) as client:
        assert client.get("/v1/tables", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://testserver:9999"},
        {"Origin": "http://testserver.evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_a_page_of_another_site_changes_nothing(client: TestClient, store: Store, headers: dict[str, str]) -> None:
    refused = client.post("/v1/jobs", json=JOB, headers=headers)
    assert refused.status_code == 403
    assert "may change nothing here" in detail(refused).message
    assert client.delete("/v1/jobs/a", headers=headers).status_code == 403
    assert store.jobs() == []


def test_the_services_own_page_may(client: TestClient) -> None:
    headers = {"Origin": "http://testserver", "Sec-Fetch-Site": "same-origin"}
    assert client.post("/v1/jobs", json=JOB, headers=headers).status_code == 202


def test_no_answer_lets_another_sites_script_read_it(client: TestClient) -> None:
    preflight = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    answers = [client.get("/v1/tables", headers=preflight), client.options("/v1/jobs", headers=preflight)]
    for answer in answers:
        assert not [name for name in answer.headers if name.lower().startswith("access-control-")]
    assert answers[0].headers["Cross-Origin-Resource-Policy"] == "same-origin"


def test_each_change_leaves_a_line_that_says_who_did_what(exposed: TestClient, store: Store) -> None:
    writer, reader = token(store, name="ci"), token(store, Role.READ, name="bob")
    with capture_logs() as logged:
        created = exposed.post("/v1/jobs", json=JOB, headers=bearer(writer))
        exposed.delete("/v1/jobs/a", headers=bearer(reader))
        exposed.post("/v1/jobs", json=JOB)
        exposed.get("/v1/tables", headers=bearer(writer))
        exposed.post("/v1/lookup", json={"table_id": "a", "workloads": []}, headers=bearer(writer))
    lines = [line for line in logged if line["event"] == "audit"]
    assert [(line["who"], line["did"], line["status"]) for line in lines] == [
        ("ci", "POST /v1/jobs", 202),
        ("bob", "DELETE /v1/jobs/a", 403),
        ("anonymous", "POST /v1/jobs", 401),
    ]
    assert lines[0]["made"] == created.headers["Location"] == f"/v1/jobs/{created.json()['id']}"


@pytest.fixture
def logs_restored() -> Iterator[None]:
    before, root = structlog.get_config(), logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    structlog.configure(**before)
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.mark.parametrize("form", ["console", "json"])
@pytest.mark.usefixtures("logs_restored")
def test_no_secret_reaches_the_log(
    exposed: TestClient, store: Store, queue: IdleQueue, capsys: pytest.CaptureFixture[str], form: LogForm
) -> None:
    def submit(*_: object, **__: object) -> None:
        raise RuntimeError("unforeseen")

    queue.submit = submit  # type: ignore[method-assign,assignment]
    text = token(store)
    configure_logs("info", form)
    with TestClient(exposed.app, raise_server_exceptions=False) as client:
        assert client.post("/v1/jobs", json=JOB, headers=bearer(text)).status_code == 500
        client.get(f"/v1/tables?token={text}", headers=bearer(text[:-1]))
    told = "".join(line for line in capsys.readouterr().err.splitlines(keepends=True) if "HTTP Request:" not in line)  # httpx's
    assert "unforeseen" in told
    assert "/v1/tables" in told
    assert text.rpartition("_")[2][:20] not in told


def test_below_a_root_path_the_rules_are_the_same(settings: Settings, store: Store, queue: IdleQueue) -> None:
    """A proxy may remove the path that it serves the service under, or leave it."""
    settings = settings.model_copy(update={"root_path": "/lab/opclock"})
    app = create_app(settings, store=store, queue=queue, backend=BACKEND, exposed=True)  # type: ignore[arg-type]
    headers = bearer(token(store))
    with TestClient(app) as client:
        for prefix in ("", "/lab/opclock"):
            assert client.get(f"{prefix}/healthz").status_code == 200
            assert client.get(f"{prefix}/v1/tables").status_code == 401
            assert client.get(f"{prefix}/v1/tables", headers=headers).status_code == 200
            created = client.post(f"{prefix}/v1/jobs", json=JOB, headers=headers)
            assert created.headers["Location"] == f"/lab/opclock/v1/jobs/{created.json()['id']}"
            assert client.get(f"{prefix}/", follow_redirects=False).headers["Location"] == "/lab/opclock/ui/login"
            assert client.get(f"{prefix}/openapi.json").json()["servers"] == [{"url": "/lab/opclock"}]
            assert client.get(f"{prefix}/docs/assets/swagger-ui.css").status_code == 200
        assert client.get("/lab/opclock/lab/opclock/healthz", headers=headers).status_code == 404
        assert client.get("/lab/opclockhealthz").status_code == 401
