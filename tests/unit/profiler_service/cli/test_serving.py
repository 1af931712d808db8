"""When the service starts, and for whom."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import structlog.testing

from models.spec.errors import InvalidSpecError
from profiler_service.cli.serving import is_exposed, listen, require_certificate, require_token, show_page, url_of
from profiler_service.errors import ServiceStartError
from profiler_service.settings import Settings
from profiler_service.storage.store import Store
from profiler_service.tokens import Role, make_token
from tests.support.repository import ROOT

TLS = ROOT / "tests" / "data" / "tls"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "opclock.sqlite") as store:
        yield store


@pytest.mark.parametrize(
    ("host", "settings", "exposed"),
    [
        ("127.0.0.1", {}, False),
        ("localhost", {}, False),
        ("127.0.0.2", {}, False),
        ("0.0.0.0", {}, True),
        ("127.0.0.1", {"root_path": "/opclock"}, True),
        ("127.0.0.1", {"allowed_hosts": ("box.lab",)}, True),
    ],
)
def test_only_loopback_without_a_proxy_is_this_machine_alone(host: str, settings: dict[str, object], exposed: bool) -> None:
    with listen(host, 0) as listener:
        assert is_exposed(listener, Settings.load(**settings)) is exposed


def test_an_exposed_service_needs_a_valid_token(store: Store) -> None:
    with listen("0.0.0.0", 0) as listener:
        for name, until in (("old", datetime.now(UTC) - timedelta(days=1)), ("lost", None)):
            store.add_token(make_token(name, Role.READ, expires_at=until)[1])
        store.revoke_token("lost")
        with pytest.raises(ServiceStartError, match=r"needs a token, since it listens on 0\.0\.0\.0") as caught:
            require_token(store, listener)
        assert f"profiler-service token create NAME --role profile --database {store.location}" in caught.value.hint
        store.add_token(make_token("ci", Role.READ, expires_at=None)[1])
        require_token(store, listener)


def test_a_connection_sends_small_answers_at_once() -> None:
    """asyncio sets TCP_NODELAY only on sockets whose protocol says that they are TCP."""
    with listen("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()):
        accepted, _ = listener.accept()
        with accepted:
            assert listener.proto == accepted.proto == socket.IPPROTO_TCP


def test_the_listener_counts_what_is_open() -> None:
    with listen("127.0.0.1", 0) as listener:
        listener.limit = 1
        listener.setblocking(False)
        with socket.create_connection(listener.getsockname()), socket.create_connection(listener.getsockname()) as second:
            first, _ = listener.accept()
            with pytest.raises(BlockingIOError):
                listener.accept()
            assert second.recv(1) == b"", "one too many was not closed"
            first.close()
            first.close()
            with socket.create_connection(listener.getsockname()):
                again, _ = listener.accept()
                again.close()


def test_a_certificate_and_its_key() -> None:
    require_certificate(Settings.load())
    require_certificate(Settings.load(tls_certificate=TLS / "certificate.pem", tls_key=TLS / "key.pem"))


@pytest.mark.parametrize(
    ("certificate", "key", "message"),
    [
        ("certificate.pem", None, "tls_key is not set"),
        (None, "key.pem", "tls_certificate is not set"),
        ("certificate.pem", "nothing.pem", r"nothing\.pem cannot be read"),
        ("key.pem", "key.pem", "TLS cannot use"),
        ("certificate.pem", "certificate.pem", "TLS cannot use"),
        ("certificate.pem", "key_with_passphrase.pem", "TLS cannot use"),
    ],
)
def test_what_tls_cannot_use(certificate: str | None, key: str | None, message: str) -> None:
    chosen = {"tls_certificate": certificate and TLS / certificate, "tls_key": key and TLS / key}
    with pytest.raises(ServiceStartError, match=message):
        require_certificate(Settings.load(**chosen))


def test_the_address_says_whether_it_is_https() -> None:
    with listen("127.0.0.1", 0) as listener:
        assert url_of(listener, "127.0.0.1", secure=True).startswith("https://127.0.0.1:")


@pytest.mark.parametrize("path", ["opclock", "/opclock/", "/a b", "//x", "/../x?"])
def test_a_root_path_is_a_path(path: str) -> None:
    with pytest.raises(InvalidSpecError, match="root_path"):
        Settings.load(root_path=path)


def test_a_machine_without_a_browser_is_told_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda url: bool(opened.append(url)))
    with structlog.testing.capture_logs() as lines:
        show_page("http://127.0.0.1:1/")
    assert opened == ["http://127.0.0.1:1/"]
    assert [line["url"] for line in lines] == opened
