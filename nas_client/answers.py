"""What an answer of a service means: a reply, or the error that it stands for. How it came is `nas_client.transport`'s."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

from models.safe_text import bare_address
from models.spec.errors import ErrorCode, InvalidSpecError
from models.spec.wire import API_VERSION, VERSION_HEADER, ErrorBody
from nas_client.errors import IncompatibleServiceError, ServiceError, UnreachableError

_GATEWAY_STATUSES = frozenset({502, 503, 504})
_RETRIED_STATUSES = _GATEWAY_STATUSES | {429}
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True)
class Reply:
    """An answer; to callers of the transport a successful one, or 304. Header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Call:
    """What was asked: the method, the path, and of which host and port."""

    method: str
    path: str
    host: str

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


class RetriedStatusError(Exception):
    """A status that may go away by itself; `final` is what to raise when it does not."""

    def __init__(self, final: Exception, retry_after_s: float | None) -> None:
        super().__init__(str(final))
        self.final = final
        self.retry_after_s = retry_after_s


class Answers:
    """Reads the answers of one service.

    Args:
        url: its address.
        has_token: whether it is asked with a token.
    """

    def __init__(self, url: str, *, has_token: bool) -> None:
        self._url, self._has_token = url, has_token

    def check(self, call: Call, reply: Reply) -> Reply:
        """The reply.

        Raises:
            RetriedStatusError: the same call may succeed later.
            ServiceError: the service answered with an error.
            IncompatibleServiceError: whatever answered is no profiler service, or of another version.
        """
        status = reply.status
        if status in _GATEWAY_STATUSES and VERSION_HEADER.lower() not in reply.headers:
            final: Exception = UnreachableError(
                f"a gateway at {self._url} answers {status}: the service behind it does not",
                hint="Check that the service runs, and the gateway's address for it.",
            )
            raise RetriedStatusError(final, _retry_after_s(reply))
        if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            raise self._denied(call, reply)
        if status in _REDIRECTS and "location" in reply.headers:
            raise IncompatibleServiceError(
                f"{self._url} answers {status}, a redirect to {bare_address(reply.headers['location'])}; "
                "this client follows no redirect, since its token and its questions are for one host",
                hint="If the service is there, give that address.",
            )
        self.check_version(reply)
        if HTTPStatus(200) <= status < HTTPStatus(300) or status == HTTPStatus.NOT_MODIFIED:
            return reply
        final = _service_error(call, reply)
        if status in _RETRIED_STATUSES:
            raise RetriedStatusError(final, _retry_after_s(reply))
        raise final

    def check_version(self, reply: Reply) -> None:
        """Raises IncompatibleServiceError unless it is of a service of this version."""
        version = reply.headers.get(VERSION_HEADER.lower())
        if version is None:
            raise IncompatibleServiceError(
                f"what answers at {self._url} is no profiler service (status {reply.status}, no {VERSION_HEADER})",
                hint="Check the address and the port.",
            )
        if version != str(API_VERSION):
            raise IncompatibleServiceError(
                f"the service at {self._url} speaks version {version} of the interface; this client speaks {API_VERSION}",
                hint="Install the same release of opclock on both sides.",
            )

    def _denied(self, call: Call, reply: Reply) -> ServiceError:
        """What 401 and 403 mean, with the next step."""
        given = _service_error(call, reply)
        said = f": {given.message}" if given.request_id or given.hint else ""
        if reply.status == HTTPStatus.FORBIDDEN:
            text = f"the service at {self._url} does not allow {call} with this token (403){said}"
            hint = "Use a token of the role `profile`: `profiler-service token create --role profile` makes one."
            if not self._has_token:
                text = f"the service at {self._url} does not allow {call} (403){said}"
                hint = given.hint or "Set OPCLOCK_CLIENT_TOKEN to a token of that service."
        elif self._has_token:
            text = f"the service at {self._url} does not accept the token (401){said}"
            hint = (
                "It may be of another service, revoked or expired: `profiler-service token create --role read` on the "
                "service's machine makes a new one."
            )
        else:
            text = f"the service at {self._url} asks for a token (401){said}"
            hint = (
                "Set OPCLOCK_CLIENT_TOKEN or OPCLOCK_CLIENT_TOKEN_FILE; `profiler-service token create --role read` on the "
                "service's machine makes a token, `--role profile` one that may also measure."
            )
        return ServiceError(text, hint=hint, code=given.code, request_id=given.request_id)


def _retry_after_s(reply: Reply) -> float | None:
    text = reply.headers.get("retry-after", "")
    return float(text) if text.isdecimal() else None


def _service_error(call: Call, reply: Reply) -> ServiceError:
    try:
        detail = ErrorBody.parse_json(reply.body).error
    except InvalidSpecError:
        return ServiceError(f"{call} was answered by {reply.status} without an explanation")
    message = detail.message
    if detail.code is ErrorCode.UNKNOWN_NAME:  # which names and plugins there are is the service's, not ours
        message = f"the service at {call.host}: {message}"
    return ServiceError(message, hint=detail.hint, code=detail.code, request_id=detail.request_id)
