"""The client's time limits, and where it stores copies of tables. Made once, at the edge, and passed down.

Each setting is read from the environment (`OPCLOCK_CLIENT_DEADLINE_S=300`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

import platformdirs
from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from models.spec.base import invalid_settings

Seconds = Annotated[float, Field(gt=0, le=86_400)]

ENVIRONMENT_PREFIX = "OPCLOCK_CLIENT_"


class ClientSettings(BaseSettings):
    """The settings of one client. Times are in seconds.

    >>> ClientSettings.load(attempts=2).attempts
    2
    """

    model_config = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX, frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )

    connect_timeout_s: Seconds = 5.0
    """For a connection to be accepted. A service on the same network does that within milliseconds."""

    read_timeout_s: Seconds = 30.0
    """Silence allowed within one answer. Reading a large table from a slow disk takes a few seconds."""

    deadline_s: Seconds = 90.0
    """For one call with all its retries, however slowly an answer trickles in."""

    attempts: Annotated[int, Field(ge=1, le=100)] = 6
    """Tries of one call, the first included. With the waits between them about 6 s: enough for a service to restart."""

    backoff_s: Seconds = 0.2
    """Before the first retry; doubled before each further one."""

    backoff_max_s: Seconds = 10.0
    """The longest wait before a retry."""

    event_silence_s: Seconds = 60.0
    """Silence after which an event stream counts as broken. The service sends something every 15 s."""

    event_reconnects: Annotated[int, Field(ge=0, le=100)] = 3
    """Event streams that may break in a row, without an event between them, before the client polls instead."""

    poll_s: Seconds = 2.0
    """Between two polls of a job, and before the client reconnects to a broken event stream."""

    cache_dir: Path = Field(default_factory=lambda: platformdirs.user_cache_path("opclock") / "tables")
    """Where copies of tables are stored, by address and table id, with the ETag under which the service confirms them."""

    tables_dir: Path | None = None
    """Folder of published tables, for tables by name. By default the `lut_data` of the checkout that this package runs from."""

    token: SecretStr | None = None
    """Token that a service asks for. Processes that the client starts inherit it; other users of the machine do not see it."""

    token_file: Path | None = None
    """File that holds the token instead. Only its owner may read it."""

    keyring: bool = False
    """Whether the token is in the system's keyring, under the service name `opclock` and the address as the user. Needs the
    extra `keyring`."""

    @classmethod
    def load(cls, **chosen: object) -> Self:
        """Read the settings from the environment. Values in `chosen` take precedence.

        Raises:
            InvalidSpecError: names the setting, its value and what is allowed.
        """
        try:
            return cls.model_validate(chosen)
        except ValidationError as error:
            raise invalid_settings(error, cls.__name__, prefix=ENVIRONMENT_PREFIX, chosen=chosen) from error
