"""`profiler-service` as a process: it starts, measures with a real runtime, stops, and goes on where it was."""

from __future__ import annotations

import json
import re
import signal
import socket
import sqlite3
import ssl
import subprocess
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import httpx_sse
import pytest

from models.spec.table_files import read_table
from models.spec.wire import JobState
from profiler_service.storage.store import Store
from profiler_service.tokens import Role, make_token
from tests.support import table_samples as samples
from tests.support.local_service import PROFILER_SERVICE, serving, wait_until
from tests.support.repository import ROOT

SMALL = {
    "name": "fasterseg",
    "input_size": [64, 64],
    "parameters": {"layers": 3, "widths": [4], "base_channels": 3},
}
"""A space of some 80 operators, each well below a tenth of a millisecond."""

PROFILE = ["profile", "--space", "fasterseg", "--input-size", "64x64", "--budget", "quick"]
PROFILE += ["--parameter", "layers=3", "--parameter", "widths=4,", "--parameter", "base_channels=3"]


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run `profiler-service` to its end."""
    return subprocess.run(
        [str(PROFILER_SERVICE), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def start_job(url: str) -> dict[str, Any]:
    response = httpx.post(f"{url}/v1/jobs", json={"space": SMALL, "budget": "quick"}, timeout=30)
    assert response.status_code == 202, response.text
    job: dict[str, Any] = response.json()
    return job


def job_of(url: str, job_id: str) -> dict[str, Any]:
    job: dict[str, Any] = httpx.get(f"{url}/v1/jobs/{job_id}", timeout=30).json()
    return job


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_service_says_where_it_is_and_ends_when_told(tmp_path: Path, number: signal.Signals) -> None:
    url_file = tmp_path / "url"
    with serving(tmp_path / "opclock.sqlite", "--url-file", url_file) as service:
        assert url_file.read_text() == service.url
        assert httpx.get(f"{service.url}/readyz").json()["status"] == "ok"
        target = httpx.get(f"{service.url}/v1/target").json()["target"]
        assert target == service.announced["target"]
        assert target["backend"] == "onnxruntime"

        assert service.stop(number) == 0

        assert not url_file.exists()
        assert service.process.stdout is not None
        assert service.process.stdout.read() == "", "one document, and nothing after it"


def test_open_event_streams_do_not_keep_the_service_alive(tmp_path: Path) -> None:
    with serving(tmp_path / "opclock.sqlite") as service:
        job_id = start_job(service.url)["id"]
        with (
            httpx.Client(base_url=service.url, timeout=60) as client,
            httpx_sse.connect_sse(client, "GET", f"/v1/jobs/{job_id}/events") as source,
        ):
            events = source.iter_sse()
            assert json.loads(next(events).data)["id"] == job_id
            service.process.send_signal(signal.SIGTERM)
            rest = [json.loads(event.data)["state"] for event in events if event.data]  # ends, and not by an error
        assert set(rest) <= {"queued", "planned", "building", "measuring"}
        assert service.process.wait(60) == 0
    with Store.open(tmp_path / "opclock.sqlite") as store:
        assert [job.id for job in store.unfinished_jobs()] == [job_id]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_job_goes_on_in_the_next_service(tmp_path: Path, number: signal.Signals) -> None:
    database = tmp_path / "opclock.sqlite"
    with serving(database) as service:
        job = start_job(service.url)
        wait_until(lambda: job_of(service.url, job["id"])["phase"].startswith("round"), timeout_s=180)
        service.stop(number)
    with serving(database) as service:
        wait_until(lambda: JobState(job_of(service.url, job["id"])["state"]).final, timeout_s=180)
        ended = job_of(service.url, job["id"])
        entries = httpx.get(f"{service.url}/v1/tables").json()[0]["entries"]

    assert ended["state"] == "done", ended["message"]
    assert ended["counts"]["measured"] == ended["counts"]["total"] == entries
    assert ended["counts"]["reused"] == ended["counts"]["failed"] == 0


@pytest.fixture(scope="module")
def profiled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A database, in a folder that was not there, with one measured table; and what the command said of it."""
    database = tmp_path_factory.mktemp("profiled") / "folder" / "opclock.sqlite"
    ended = command(*PROFILE, "--database", database, "--json")
    said = [line for line in ended.stderr.splitlines() if not line.startswith("warning: ")]  # of what else this machine does
    assert (ended.returncode, said) == (0, [])
    return database, json.loads(ended.stdout)


@pytest.mark.slow
@pytest.mark.alone  # a busy machine is seen, and its entries are measured again
def test_profile_measures_once_and_then_reuses(profiled: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    database, before = profiled
    again = command(*PROFILE, "--database", database, "--json")
    people = command(*PROFILE, "--database", database)

    assert (again.returncode, people.returncode) == (0, 0)
    after, total = json.loads(again.stdout), before["counts"]["total"]
    assert before["counts"] == {"total": total, "reused": 0, "measured": total, "failed": 0}
    assert after["counts"] == {"total": total, "reused": total, "measured": 0, "failed": 0}
    assert after["table_id"] == before["table_id"]
    assert f"{total} reused" in people.stdout

    path = tmp_path / "table.arrow"
    exported = command("export", "--table", before["table_id"], "--format", "arrow", "-o", path, "--database", database)
    assert exported.returncode == 0
    assert len(read_table(path).values_ms()) == total


@pytest.mark.slow
def test_protocols_do_not_mix(profiled: tuple[Path, dict[str, Any]]) -> None:
    database, in_context = profiled
    isolated = command(*PROFILE, "--protocol", "isolated", "--database", database, "--json")
    assert isolated.returncode == 0, isolated.stderr

    found = command("diff", in_context["table_id"], json.loads(isolated.stdout)["table_id"], "--database", database, "--json")

    document = json.loads(found.stdout)
    assert found.returncode == 0
    assert document["same_table"] is False
    assert "protocol: in_context here, isolated there" in document["mismatch"]
    assert document["common"] == in_context["counts"]["total"]


@pytest.mark.slow
def test_an_interrupted_profile_keeps_what_it_has(tmp_path: Path) -> None:
    database = tmp_path / "opclock.sqlite"
    arguments = [str(PROFILER_SERVICE), *PROFILE, "--database", str(database), "--json"]
    arguments[arguments.index("quick")] = "thorough"
    with (
        Store.open(database) as store,
        subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process,
    ):
        try:
            wait_until(lambda: any(job.phase.startswith("round 3") for job in store.jobs()), timeout_s=180)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=120)
        finally:
            process.kill()
        unfinished = store.unfinished_jobs()

    assert process.returncode == 128 + signal.SIGINT
    assert json.loads(out)["job"]["state"] == "cancelled"
    assert re.search(r"measurements so far are saved, [1-9]\d+ visits", err)
    assert "Traceback" not in err
    assert unfinished == []


def test_a_second_service_on_a_database_is_told_so(tmp_path: Path) -> None:
    with serving(tmp_path / "opclock.sqlite"):
        refused = command("serve", "--port", 0, "--database", tmp_path / "opclock.sqlite")
    assert refused.returncode == 3
    assert f"another service uses the database {tmp_path / 'opclock.sqlite'}" in refused.stderr


def test_a_stop_ends_in_time_whatever_is_under_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that plans a large job, or many pulls, once held a service for minutes after SIGTERM."""
    monkeypatch.setenv("OPCLOCK_SHUTDOWN_TIMEOUT_S", "2")
    with serving(tmp_path / "opclock.sqlite") as service, socket.create_connection(_address(service.url)) as half_sent:
        half_sent.sendall(b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{")
        begun_s = time.monotonic()
        assert service.stop() == 0
        assert time.monotonic() - begun_s < 20


def _address(url: str) -> tuple[str, int]:
    host, _, port = url.removeprefix("http://").partition(":")
    return host, int(port)


def test_a_port_in_use_is_told_at_once(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        ended = command("serve", "--port", port, "--database", tmp_path / "opclock.sqlite", "--json")
    assert ended.returncode == 3
    assert json.loads(ended.stdout)["error"]["message"] == f"127.0.0.1 port {port} is in use"
    assert "Traceback" not in ended.stderr


def test_a_service_that_starts_mends_the_tags_of_tables(tmp_path: Path) -> None:
    with Store.open(tmp_path / "opclock.sqlite") as store:
        table_id = store.import_table(samples.table())
        right = store.table_etag(table_id)
    with closing(sqlite3.connect(tmp_path / "opclock.sqlite")) as connection, connection:
        connection.execute("UPDATE contents SET digest = ?", ("0" * 32,))
    with serving(tmp_path / "opclock.sqlite") as service:
        (listed,) = httpx.get(f"{service.url}/v1/tables").json()
    assert listed["etag"] == right


def test_the_services_own_process_holds_no_runtime(tmp_path: Path) -> None:
    """Only its workers import torch or a vendor's library, and they may die."""
    with serving(tmp_path / "opclock.sqlite") as service:
        mapped = Path(f"/proc/{service.process.pid}/maps")
        if not mapped.exists():
            pytest.skip("looking at a process's libraries needs Linux' /proc")
        libraries = mapped.read_text()
    assert "libtorch" not in libraries
    assert "onnxruntime" not in libraries


def test_beyond_loopback_the_service_needs_a_token(tmp_path: Path) -> None:
    ended = command("serve", "--host", "0.0.0.0", "--port", "0", "--database", tmp_path / "opclock.sqlite")
    assert ended.returncode == 3
    assert "the service needs a token, since it listens on 0.0.0.0" in ended.stderr
    assert "profiler-service token create NAME --role profile" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_over_tls_a_token_opens_the_service_until_it_is_revoked(tmp_path: Path) -> None:
    database, tls = tmp_path / "opclock.sqlite", ROOT / "tests" / "data" / "tls"
    token, stored = make_token("ci", Role.READ, expires_at=None)
    with Store.open(database) as store:
        store.add_token(stored)
    files = ["--tls-certificate", tls / "certificate.pem", "--tls-key", tls / "key.pem"]
    trusted = ssl.create_default_context(cafile=str(tls / "certificate.pem"))
    with (
        serving(database, "--host", "0.0.0.0", *files) as service,
        httpx.Client(base_url=service.url, verify=trusted, timeout=30) as client,
    ):
        headers = {"Authorization": f"Bearer {token}"}
        assert service.url.startswith("https://127.0.0.1:")
        assert client.get("/healthz").status_code == 200
        assert client.get("/v1/target").status_code == 401
        assert client.get("/v1/target", headers=headers).status_code == 200
        refused = client.post("/v1/jobs", json={"space": SMALL}, headers=headers)
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "forbidden")
        with pytest.raises(httpx.TransportError):
            httpx.get(service.url.replace("https://", "http://") + "/healthz")
        with Store.open(database) as store:
            store.revoke_token("ci")
        wait_until(lambda: client.get("/v1/target", headers=headers).status_code == 401)
        assert service.stop() == 0
    log = database.with_suffix(".log").read_text()
    assert "clear text" not in log
    assert "who=ci" in log
    assert token.rpartition("_")[2] not in log
