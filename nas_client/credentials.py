"""The token that a service may ask for: from the environment, a file or the system's keyring, never from an address."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from pydantic import SecretStr

from models.spec.errors import InvalidSpecError
from nas_client.settings import ENVIRONMENT_PREFIX, ClientSettings

KEYRING_SERVICE = "opclock"
"""Under this name, with the service's address as the user, the keyring holds tokens."""

MAX_TOKEN = 4_096
"""Characters of a token; ours have far fewer."""

_TOKEN = re.compile(r"[!-~]+")
"""What may stand in a header: visible ASCII."""


def token_for(url: str, settings: ClientSettings) -> SecretStr | None:
    """The token for the service at that address; None where none was given. No message ever shows it.

    Args:
        url: address of the service, as checked.
        settings: `token`, `token_file` and `keyring`, of which one may be given.

    Raises:
        InvalidSpecError: several were given; the file may be read by others, or has no token; or the keyring has none.
    """
    given = {
        "TOKEN": settings.token is not None,
        "TOKEN_FILE": settings.token_file is not None,
        "KEYRING": settings.keyring,
    }
    names = [f"{ENVIRONMENT_PREFIX}{name}" for name, is_given in given.items() if is_given]
    if len(names) > 1:
        raise InvalidSpecError(f"{' and '.join(names)} are both set", hint="Keep the one that holds the token; unset the rest.")
    if settings.token is not None:
        return _checked(settings.token.get_secret_value(), names[0])
    if settings.token_file is not None:
        return _checked(_read_private(settings.token_file), f"{names[0]}={settings.token_file}")
    if settings.keyring:
        return _checked(_from_keyring(url), f"the keyring's entry {KEYRING_SERVICE!r} for {url}")
    return None


def _checked(text: str, source: str) -> SecretStr:
    token = text.strip()
    if not token:
        raise InvalidSpecError(f"{source} holds no token", hint="`profiler-service token create` prints one.")
    if len(token) > MAX_TOKEN or not _TOKEN.fullmatch(token):
        raise InvalidSpecError(
            f"{source} holds {len(token)} characters that are no token: at most {MAX_TOKEN} of visible ASCII, without spaces",
            hint="Store the token alone, as `profiler-service token create` printed it.",
        )
    return SecretStr(token)


def _read_private(path: Path) -> str:
    """The file's text. Raises InvalidSpecError where others may read it, or nobody can."""
    name = f"{ENVIRONMENT_PREFIX}TOKEN_FILE"
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if os.name == "posix" and mode & 0o077:
                raise InvalidSpecError(
                    f"{name}={path} may be used by other users of this machine (mode {mode:04o})",
                    hint=f"Run `chmod 600 {path}`, and make a new token if others may have read this one.",
                )
            return file.read(MAX_TOKEN * 2).decode("utf-8", "replace")
    except OSError as error:
        raise InvalidSpecError(
            f"{name}={path} cannot be read: {error.strerror or error}", hint="Check the path and its permissions."
        ) from error


def _from_keyring(url: str) -> str:
    name = f"{ENVIRONMENT_PREFIX}KEYRING"
    try:
        import keyring
        import keyring.errors
    except ImportError as error:
        raise InvalidSpecError(
            f"{name} is set, but the package keyring is not installed", hint="Install it: pip install 'opclock[keyring]'."
        ) from error
    try:
        token: str | None = keyring.get_password(KEYRING_SERVICE, url)
    except keyring.errors.KeyringError as error:
        raise InvalidSpecError(
            f"the system's keyring cannot be used: {error}", hint=f"Unset {name}, and use {ENVIRONMENT_PREFIX}TOKEN_FILE."
        ) from error
    if token is None:
        raise InvalidSpecError(
            f"the system's keyring has no token for {url}", hint=f"Store one: keyring set {KEYRING_SERVICE} {url}"
        )
    return token
