"""`nas-client` within the test's own process, as its console script runs it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import stamina.instrumentation

from nas_client.cli.main import main
from tests.support.ended import Command, Ended


@pytest.fixture(name="nas_client")
def command_fixture(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Command]:
    """Call it with the command's arguments."""

    def run(*arguments: object) -> Ended:
        monkeypatch.setattr("sys.argv", ["nas-client", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        return Ended(int(ended.value.code or 0), captured.out, captured.err)

    for name, value in {"BACKOFF_S": "0.001", "BACKOFF_MAX_S": "0.002", "POLL_S": "0.001"}.items():
        monkeypatch.setenv(f"OPCLOCK_CLIENT_{name}", value)
    yield run
    stamina.instrumentation.set_on_retry_hooks(None)
