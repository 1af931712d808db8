"""What worker processes keep of the service's environment: all but credentials.

A runtime loads code of others, which may start processes and write reports of crashes. None of them need what opens a
database or another service. A list of what is kept would leave out variables that a runtime reads and nobody here has heard of,
and times would change without a word; so this is a list of what is removed.
"""

from __future__ import annotations

import re
from collections.abc import MutableMapping

_SECRET_WORDS = frozenset(
    {
        *("TOKEN", "TOKENS", "SECRET", "SECRETS", "KEY", "KEYS", "APIKEY", "PAT", "SAS"),
        *("PASSWORD", "PASSWORDS", "PASSWD", "PASSPHRASE", "PASSFILE", "PASS", "PWD"),
        *("CREDENTIAL", "CREDENTIALS", "AUTH", "AUTHORIZATION", "COOKIE", "COOKIES", "DATABASE", "DSN"),
    }
)
"""Words of a name, between underscores, that say that its value is secret, or may hold something that is."""

_SECRET_NAMES = re.compile(
    r"PG[A-Z]+"  # libpq's
    r"|(AWS|AZURE|GOOGLE|GCP|DOCKER|GITHUB|GITLAB|KUBERNETES|VAULT)_.*"
    r"|(DATABASE|DB|REDIS|MONGO|MYSQL|POSTGRES|POSTGRESQL|SQLALCHEMY)(_.*)?_(URL|URI)"
)
_URL_WITH_CREDENTIALS = re.compile(r"[a-z][a-z0-9+.-]*://[^/\s@]+@", re.IGNORECASE)
"""A password, or a name alone: package indices take tokens as names."""


def is_secret(name: str, value: str) -> bool:
    """Whether a variable of the environment may hold credentials: by its name, or because its value is a URL with some."""
    upper = name.upper()
    if upper in {"PWD", "OLDPWD"}:  # the shell's directories
        return False
    if _SECRET_NAMES.fullmatch(upper) or not _SECRET_WORDS.isdisjoint(upper.split("_")):
        return True
    return _URL_WITH_CREDENTIALS.search(value) is not None


def remove_secrets(environment: MutableMapping[str, str]) -> None:
    """Delete the variables that may hold credentials. Of `os.environ`, processes started later do not inherit them either."""
    for name in [name for name, value in environment.items() if is_secret(name, value)]:
        del environment[name]
