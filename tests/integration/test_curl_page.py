"""docs/curl.md: every call of the service has a line there, and each line works."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from models.spec.wire import JobState
from profiler_service.api.app import create_app
from profiler_service.settings import Settings
from profiler_service.storage.store import Store
from profiler_service.tokens import Role, make_token
from tests.support.local_service import running
from tests.support.repository import ROOT
from tests.unit.profiler_service.api.conftest import BACKEND, IdleQueue

PAGE = (ROOT / "docs" / "curl.md").read_text()
LINES = [line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]


def calls(document: dict[str, dict[str, object]]) -> set[str]:
    return {f"{method.upper()} {path}" for path, methods in document.items() for method in methods}


def call_of(line: str) -> str:
    """The call as the OpenAPI document names it."""
    method = re.search(r"-X ([A-Z]+)", line)
    path = re.search(r'"\$URL([^"?]*)', line)
    assert path is not None
    return f"{method[1] if method else 'GET'} {path[1]}".replace("$JOB", "{job_id}").replace("$TABLE", "{table_id}")


class _EndedQueue(IdleQueue):
    """Its events are the job as it stands."""

    async def events(self, job_id: str):  # type: ignore[no-untyped-def]
        self.script = [self.store.job(job_id)]
        assert self.script[0].state is JobState.CANCELLED
        return await super().events(job_id)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_every_line_works_and_every_call_has_one(tmp_path: Path) -> None:
    settings = Settings.load(database=tmp_path / "opclock.sqlite")
    with Store.open(settings.database) as store:
        text, stored = make_token("curl", Role.PROFILE, expires_at=None)
        store.add_token(stored)
        app = create_app(settings, store=store, queue=_EndedQueue(store), backend=BACKEND)  # type: ignore[arg-type]
        assert {call_of(line) for line in LINES} == calls(app.openapi()["paths"])
        with running(app) as url:
            values = os.environ | {"URL": url, "TOKEN": text, "NO_PROXY": "127.0.0.1"}
            for line in LINES:
                ended = subprocess.run(["bash", "-c", line], env=values, cwd=tmp_path, capture_output=True, timeout=60)
                assert ended.returncode == 0, (line, ended.stderr)
                if "JOB" not in values:
                    job = json.loads(ended.stdout)
                    values |= {"JOB": job["id"], "TABLE": job["table_id"]}
    assert (tmp_path / "table.arrow").read_bytes()
