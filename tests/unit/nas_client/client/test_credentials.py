"""The token: where it comes from, where it goes, and that nothing ever shows it."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import httpx
import pytest

from models.spec.errors import ErrorCode, ExitCode, InvalidSpecError
from models.spec.wire import ErrorBody, ErrorDetail
from nas_client.credentials import token_for
from nas_client.errors import IncompatibleServiceError, ServiceError
from nas_client.settings import ClientSettings
from nas_client.transport import Transport
from tests.support.client_command import Command
from tests.support.fake_service import FakeService, serving

URL = "http://box:1"
SECRET = "opc_s3cret-Token"
VERSION = {"Opclock-Api-Version": "2"}


def answering(response: httpx.Response, **settings: object) -> tuple[Transport, list[httpx.Request]]:
    """A transport to a service that always answers so, and what it sent."""
    sent: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return response

    return Transport(URL, ClientSettings.load(**settings), http=httpx.MockTransport(answer)), sent


def told(status: int, message: str = "the role is missing") -> httpx.Response:
    detail = ErrorDetail(code=ErrorCode.INVALID_REQUEST, message=message, request_id="r-1")
    return httpx.Response(status, headers=VERSION, content=ErrorBody(error=detail).model_dump_json().encode())


def private(path: Path, text: str = SECRET, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def test_without_a_token_none_is_sent() -> None:
    client, sent = answering(httpx.Response(200, headers=VERSION, content=b"{}"))
    client.request("GET", "/v1/target")
    assert "authorization" not in sent[0].headers


def test_the_environment_and_a_file_give_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = private(tmp_path / "token", f"{SECRET}\n")
    for name, value in {"TOKEN": SECRET, "TOKEN_FILE": str(path)}.items():
        with monkeypatch.context() as environment:
            environment.setenv(f"OPCLOCK_CLIENT_{name}", value)
            client, sent = answering(httpx.Response(200, headers=VERSION, content=b"{}"))
            client.request("GET", "/v1/target")
            assert sent[0].headers["authorization"] == f"Bearer {SECRET}"
            assert SECRET not in repr(ClientSettings.load())


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_file_that_others_may_use_is_refused(tmp_path: Path, mode: int) -> None:
    path = private(tmp_path / "token", mode=mode)
    with pytest.raises(InvalidSpecError, match=f"may be used by other users of this machine .mode 0{mode:o}") as caught:
        token_for(URL, ClientSettings.load(token_file=path))
    assert f"chmod 600 {path}" in caught.value.hint


@pytest.mark.parametrize("text", ["", " \n", "two words", "tok\x1ben", "é", "x" * 5_000])
def test_what_is_no_token_is_refused_and_not_shown(tmp_path: Path, text: str) -> None:
    for chosen in ({"token": text}, {"token_file": private(tmp_path / "token", text)}):
        with pytest.raises(InvalidSpecError, match=r"OPCLOCK_CLIENT_TOKEN.* holds") as caught:
            token_for(URL, ClientSettings.load(**chosen))
        assert not text.strip() or text not in caught.value.message


def test_a_missing_file_and_two_sources_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidSpecError, match="absent cannot be read: No such file"):
        token_for(URL, ClientSettings.load(token_file=tmp_path / "absent"))
    with pytest.raises(InvalidSpecError, match="OPCLOCK_CLIENT_TOKEN and OPCLOCK_CLIENT_KEYRING are both set") as caught:
        token_for(URL, ClientSettings.load(token=SECRET, keyring=True))
    assert SECRET not in caught.value.message + caught.value.hint


class TestKeyring:
    def modules(self, stored: dict[tuple[str, str], str], monkeypatch: pytest.MonkeyPatch) -> None:
        """The package keyring, with that in it; a user `locked` has no access."""
        keyring, errors = ModuleType("keyring"), ModuleType("keyring.errors")
        errors.KeyringError = type("KeyringError", (Exception,), {})  # type: ignore[attr-defined]

        def get_password(service: str, user: str) -> str | None:
            if "locked" in user:
                raise errors.KeyringError("the collection is locked")  # type: ignore[attr-defined]
            return stored.get((service, user))

        keyring.get_password, keyring.errors = get_password, errors  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "keyring", keyring)
        monkeypatch.setitem(sys.modules, "keyring.errors", errors)

    def test_it_holds_one_token_for_each_address(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.modules({("opclock", URL): SECRET}, monkeypatch)
        settings = ClientSettings.load(keyring=True)
        token = token_for(URL, settings)
        assert token is not None
        assert token.get_secret_value() == SECRET
        with pytest.raises(InvalidSpecError, match="has no token for http://other:1") as caught:
            token_for("http://other:1", settings)
        assert "keyring set opclock http://other:1" in caught.value.hint
        with pytest.raises(InvalidSpecError, match="cannot be used: the collection is locked"):
            token_for("http://locked:1", settings)

    def test_the_package_is_named_where_it_is_absent(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "keyring", None)
        with pytest.raises(InvalidSpecError, match="keyring is not installed") as caught:
            token_for(URL, ClientSettings.load(keyring=True))
        assert "opclock[keyring]" in caught.value.hint


class TestDenied:
    @pytest.mark.parametrize(
        ("status", "token", "message", "hint"),
        [
            (401, None, "asks for a token (401): the role is missing", "Set OPCLOCK_CLIENT_TOKEN"),
            (401, SECRET, "does not accept the token (401): the role is missing", "revoked or expired"),
            (403, SECRET, "does not allow POST /v1/jobs with this token (403): the role is missing", "--role profile"),
            (403, None, "does not allow POST /v1/jobs (403): the role is missing", "OPCLOCK_CLIENT_TOKEN"),
        ],
    )
    def test_it_says_what_to_do(self, status: int, token: str | None, message: str, hint: str) -> None:
        client, sent = answering(told(status), token=token)
        with pytest.raises(ServiceError) as caught:
            client.request("POST", "/v1/jobs")
        assert message in caught.value.message
        assert hint in caught.value.hint
        assert caught.value.exit_code is ExitCode.BAD_INPUT
        assert SECRET not in caught.value.message + caught.value.hint
        assert len(sent) == 1

    def test_by_a_gateway_too(self) -> None:
        client, _ = answering(httpx.Response(401, text="<html>"))
        with pytest.raises(ServiceError, match=r"asks for a token .401.$"):
            client.request("GET", "/v1/target")

    def test_on_a_stream_too(self) -> None:
        client, _ = answering(told(401))
        with pytest.raises(ServiceError, match="asks for a token"):
            list(client.events("/v1/jobs/j/events"))


@pytest.mark.parametrize("status", [301, 302, 307, 308])
@pytest.mark.parametrize("target", ["http://other:1/v1/target", "http://me:hidden@box:1/v1/target", "//other/x", "/v2/target"])
def test_no_redirect_is_followed(status: int, target: str) -> None:
    client, sent = answering(httpx.Response(status, headers=VERSION | {"Location": target}), token=SECRET)
    with pytest.raises(IncompatibleServiceError, match=f"answers {status}, a redirect to ") as caught:
        client.request("GET", "/v1/target")
    assert "hidden" not in caught.value.message
    assert [request.url.host for request in sent] == ["box"]


@pytest.mark.parametrize(
    "address",
    [
        *("http://me:hidden@box:1", "http://hidden@box:1", "https://me:hid/den@box:port", "me:hidden@box:1"),
        *("http://box:1/?token=hidden", "http://box:1#hidden", "ftp://me:hidden@box", "http://me:hid?den@box"),
    ],
)
def test_an_address_with_a_secret_is_refused_and_not_shown(address: str, nas_client: Command, tmp_path: Path) -> None:
    commands = [("tables", "--url", address), ("pull", "--url", address, "-o", tmp_path / "t.csv", "--json")]
    if "//" in address:  # else it is the name of a file
        commands.append(("sensitivity", "--table", address))
    for arguments in commands:
        ended = nas_client(*arguments)
        assert ended.code == ExitCode.BAD_INPUT, ended.err
        assert "hid" not in (ended.out + ended.err).replace(str(tmp_path), "")
        assert "error:" in ended.err


@pytest.mark.parametrize("proxy", ["socks5://me:hidden@proxy:1080", "strange://proxy"])
def test_a_proxy_of_another_kind_is_a_sentence(proxy: str, nas_client: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ALL_PROXY", proxy)
    monkeypatch.setitem(sys.modules, "socksio", None)
    ended = nas_client("tables", "--url", "http://box.invalid:1")
    assert ended.code == ExitCode.UNREACHABLE
    assert "the proxy of the environment (ALL_PROXY=" in ended.err
    assert "NO_PROXY" in ended.err
    assert "hidden" not in ended.err
    assert "Traceback" not in ended.err
    with serving(FakeService()) as url:
        assert nas_client("tables", "--url", url).code == ExitCode.DONE, "loopback needs no proxy"
