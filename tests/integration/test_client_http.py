"""The client against a real local server: whole commands, and everything that a network does to them."""

from __future__ import annotations

import csv
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from models.spaces import coverage
from models.spaces.registry import create_space
from models.spec.architectures import SpaceSpec
from models.spec.errors import ErrorCode, ExitCode
from models.spec.measurements import ProtocolName
from models.spec.table_files import read_table
from models.spec.tables import Table, TableInfo
from models.spec.wire import JobState, Rebuild
from nas_client.errors import IncompatibleServiceError, UnreachableError
from nas_client.settings import ClientSettings
from nas_client.transport import Transport
from tests.support.client_command import Command, command_fixture
from tests.support.fake_service import (
    SPACE,
    TARGET,
    FakeService,
    Fault,
    cut_short,
    cut_short_stream,
    make_table,
    network_ms,
    no_answer,
    reset_mid_body,
    says,
    serving,
    silent,
    trickling,
)

__all__ = ["command_fixture"]

TABLE = make_table()
TABLE_ID = TABLE.info.id()
OTHER_VERSION = says("200 OK", "Opclock-Api-Version: 1\r\n")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own for every test."""
    monkeypatch.setenv("OPCLOCK_CLIENT_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path


def settings(**changes: object) -> ClientSettings:
    return ClientSettings.load(**{"backoff_s": 0.001, "backoff_max_s": 0.002, "attempts": 4} | changes)


@pytest.fixture
def closed_port() -> str:
    """An address at which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


@pytest.mark.parametrize("fault", [reset_mid_body, cut_short, no_answer, says("503 Busy"), says("502 Bad Gateway")])
def test_a_call_outlives_a_passing_fault(fault: Fault) -> None:
    service = FakeService(TABLE)
    with serving(service, [fault, fault]) as url, Transport(url, settings()) as transport:
        assert json.loads(transport.request("GET", "/v1/target").body)["id"] == TARGET.id()
    assert service.requests == ["GET /v1/target"]


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_loopback_is_reached_without_the_proxy(closed_port: str, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    for variable in ("NO_PROXY", "no_proxy", "http_proxy"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HTTP_PROXY", closed_port)
    with serving(FakeService(TABLE)) as url, Transport(url.replace("127.0.0.1", name), settings(attempts=1)) as transport:
        assert transport.request("GET", "/v1/target").status == 200
    with Transport("http://box.invalid", settings(attempts=1)) as transport, pytest.raises(UnreachableError, match="refused"):
        transport.request("GET", "/v1/target")  # any other host goes through it


@pytest.mark.parametrize("fault", [reset_mid_body, cut_short, no_answer])
def test_a_lasting_fault_is_an_unreachable_service(fault: Fault) -> None:
    with (
        serving(FakeService(), [fault] * 4) as url,
        Transport(url, settings()) as transport,
        pytest.raises(UnreachableError, match=r"no answer from http://127\.0\.0\.1"),
    ):
        transport.request("GET", "/v1/target")


def test_a_closed_port(closed_port: str) -> None:
    with Transport(closed_port, settings()) as transport, pytest.raises(UnreachableError, match="refused"):
        transport.request("GET", "/v1/target")


def test_a_silent_service_is_given_up() -> None:
    with (
        serving(FakeService(), [silent] * 2) as url,
        Transport(url, settings(read_timeout_s=0.1, attempts=2)) as transport,
        pytest.raises(UnreachableError, match="did not answer in time"),
    ):
        transport.request("GET", "/v1/target")


def test_a_silent_service_is_tried_again() -> None:
    service = FakeService()
    with serving(service, [silent]) as url, Transport(url, settings(read_timeout_s=0.2)) as transport:
        transport.request("GET", "/v1/target")
    assert service.requests == ["GET /v1/target"]


def test_a_trickle_does_not_outwit_the_deadline() -> None:
    """Each byte comes within the read timeout; were it not for the deadline, the answer would take half an hour."""
    patience = settings(read_timeout_s=30.0, deadline_s=0.3)
    with (
        serving(FakeService(), [trickling] * 4) as url,
        Transport(url, patience) as transport,
        pytest.raises(UnreachableError, match="did not answer in time"),
    ):
        transport.request("GET", "/v1/target")


def test_another_version_is_not_tried_again() -> None:
    service = FakeService()
    with (
        serving(service, [OTHER_VERSION]) as url,
        Transport(url, settings()) as transport,
        pytest.raises(IncompatibleServiceError, match="speaks version 1"),
    ):
        transport.request("GET", "/v1/target")
    assert service.requests == []


@pytest.mark.parametrize("fault", [cut_short_stream, no_answer])
def test_a_stream_that_breaks_is_an_unreachable_service(fault: Fault) -> None:
    seen = []
    with (
        serving(FakeService(), [fault]) as url,
        Transport(url, settings()) as transport,
        pytest.raises(UnreachableError, match="no answer from"),
    ):
        seen += transport.events("/v1/jobs/job0/events")
    assert seen == []


def test_a_silent_stream_is_given_up() -> None:
    with (
        serving(FakeService(), [silent]) as url,
        Transport(url, settings(event_silence_s=0.1)) as transport,
        pytest.raises(UnreachableError, match="did not answer in time"),
    ):
        list(transport.events("/v1/jobs/job0/events"))


def test_pull_writes_the_table(nas_client: Command, folder: Path) -> None:
    service = FakeService(TABLE)
    with serving(service) as url:
        for name in ("table.parquet", "table.csv"):
            ended = nas_client("pull", "--url", url, "-o", folder / name, "--json")
            assert ended.code == ExitCode.DONE
            assert ended.document == {
                "table_id": TABLE_ID,
                "path": str(folder / name),
                "format": name.removeprefix("table."),
                "entries": len(TABLE.entries),
                "failed": 0,
                "verdict": {"level": "trustworthy", "reasons": []},
            }
            assert read_table(folder / name) == TABLE
    assert service.requests == ["GET /v1/tables", f"GET /v1/tables/{TABLE_ID}"] * 2


def test_pull_outlives_faults_and_says_so_on_stderr(nas_client: Command, folder: Path) -> None:
    with serving(FakeService(TABLE), [reset_mid_body, says("503 Busy")]) as url:
        ended = nas_client("pull", "--url", url, "-o", folder / "table.json", "--json")
    assert ended.document["table_id"] == TABLE_ID, "stdout holds the document alone"
    assert ended.err.count("trying again in") == 2


def test_pull_needs_a_known_format_and_one_table(nas_client: Command, folder: Path) -> None:
    isolated = make_table(protocol=ProtocolName.ISOLATED)
    with serving(FakeService(TABLE, isolated)) as url:
        for arguments, message in {
            ("-o", folder / "table.xlsx"): "unknown table format 'xlsx'",
            ("-o", folder / "table.csv"): "the service holds 2 tables",
            ("-o", folder / "table.csv", "--table", "0123"): "no table of id 0123",
            ("-o", folder / "nowhere" / "table.csv", "--table", TABLE_ID): "cannot be written: No such file or directory",
        }.items():
            ended = nas_client("pull", "--url", url, *arguments, "--json")
            assert ended.code == ExitCode.BAD_INPUT
            assert message in ended.document["error"]["message"]
        assert nas_client("pull", "--url", url, "-o", folder / "t.csv", "--table", isolated.info.id()).code == ExitCode.DONE


def test_a_table_on_a_service_is_as_good_as_a_file(nas_client: Command) -> None:
    with serving(FakeService(TABLE, make_table(protocol=ProtocolName.ISOLATED))) as url:
        ended = nas_client("sensitivity", "--table", f"{url}/v1/tables/{TABLE_ID}", "--json")
        assert ended.document["operator_ms"] > 0
        ended = nas_client("sensitivity", "--table", url, "--json")
        assert "holds 2 tables" in ended.document["error"]["message"]


def test_profile_asks_for_the_space_and_follows_the_job(nas_client: Command) -> None:
    service = FakeService()
    with serving(service) as url:
        arguments = ("profile", "--url", url, "--space", "toy_dag", "--input-size", "64x128", "--budget", "quick")
        ended = nas_client(*arguments, "--json")
        (job,) = service.created.values()
        assert ended.code == ExitCode.DONE
        assert ended.document == {
            "job": job.model_dump(mode="json"),
            "table_id": TABLE_ID,
            "counts": {"total": len(TABLE.entries), "reused": 0, "measured": len(TABLE.entries), "failed": 0},
            "failures": [],
        }
        assert (job.request.space, job.request.workloads, job.request.rebuild) == (SPACE, None, Rebuild.AUTO)
        nas_client(*arguments, "--rebuild", "never", "--protocol", "isolated_hot")
        asked = list(service.created.values())[-1].request
        assert (asked.rebuild, asked.protocol) == (Rebuild.NEVER, ProtocolName.ISOLATED_HOT)
        assert job.table_id == TABLE_ID
        people = nas_client(*arguments)
    assert people.out == f"table {TABLE_ID}: {len(TABLE.entries)} operators measured, 0 reused, 0 failed\n"


def test_measure_shows_a_network_beside_the_sum_of_each_table(nas_client: Command, folder: Path) -> None:
    network = create_space(SPACE).sample(np.random.default_rng(1))
    path = folder / "network.json"
    path.write_text(network.model_dump_json())
    isolated = make_table(protocol=ProtocolName.ISOLATED)
    service = FakeService(TABLE, isolated)
    with serving(service) as url:
        tables = ("--table", TABLE_ID, "--table", isolated.info.id())
        arguments = ("measure", "--url", url, "--architecture", path, *tables, "--budget", "quick")
        ended = nas_client(*arguments, "--json")
        assert ended.code == ExitCode.DONE
        assert ended.document["network"] == network.label()
        rows = ended.document["tables"]
        assert [row["protocol"] for row in rows] == ["in_context", "isolated"]
        assert [row["measured_ms"] for row in rows] == [pytest.approx(network_ms(network))] * 2
        people = nas_client(*arguments)
        assert f"{network_ms(network):.4f}" in people.out
        service.failing = {network.key()}
        failed = nas_client(*arguments)
    assert failed.code == ExitCode.WORKLOADS_FAILED
    assert "none" in failed.out


def test_profile_passes_parameters_of_the_space_on(nas_client: Command) -> None:
    space = SpaceSpec(name="fasterseg", input_size=(64, 128), parameters={"layers": 4, "widths": (4, 12)})
    service = FakeService(make_table(space))
    with serving(service) as url:
        arguments = ("profile", "--url", url, "--space", "fasterseg", "--input-size", "64x128")
        ended = nas_client(*arguments, "--parameter", "layers=4", "--parameter", "widths=4,12")
        assert ended.code == ExitCode.DONE
        (job,) = service.created.values()
        assert job.request.space is not None
        assert space.parameters.items() <= job.request.space.parameters.items()
        ended = nas_client(*arguments, "--parameter", "layers=four")
    assert ended.code == ExitCode.BAD_INPUT
    assert "'layers=four' is not NAME=NUMBER" in ended.err


def test_profile_ends_with_4_when_operators_failed(nas_client: Command) -> None:
    service = FakeService()
    service.failing = {TABLE.entries[0].key()}
    with serving(service) as url:
        ended = nas_client("profile", "--url", url, "--space", "toy_dag", "--input-size", "64x128", "--json")
    assert ended.code == ExitCode.WORKLOADS_FAILED
    assert ended.document["counts"]["failed"] == 1
    assert ended.document["failures"] == [
        {
            "label": TABLE.entries[0].workload.label(),
            "key": TABLE.entries[0].key(),
            "status": "out_of_memory",
            "message": "it does not fit",
        }
    ]


def test_profile_ends_with_4_when_the_job_failed(nas_client: Command) -> None:
    service = FakeService()
    service.final, service.streams = JobState.FAILED, [[JobState.FAILED]]
    with serving(service) as url:
        ended = nas_client("profile", "--url", url, "--space", "toy_dag", "--input-size", "64x128", "--json")
    assert ended.code == ExitCode.WORKLOADS_FAILED
    assert ended.document["error"]["message"] == "job job0 has failed: the device went away"


@pytest.mark.parametrize(
    ("space", "size", "message"),
    [
        ("toy_dog", "64x128", "unknown search space 'toy_dog'"),
        ("toy_dag", "63x128", "not divisible by 2"),
        ("toy_dag", "64", "input size '64' is not HEIGHTxWIDTH"),
        ("toy_dag", "0x128", "SpaceSpec.input_size.0"),
        ("toy_dag", "99999x128", "SpaceSpec.input_size.0"),
    ],
)
def test_profile_of_what_there_is_not(nas_client: Command, space: str, size: str, message: str) -> None:
    service = FakeService()
    with serving(service) as url:
        ended = nas_client("profile", "--url", url, "--space", space, "--input-size", size, "--json")
    assert ended.code == ExitCode.BAD_INPUT
    assert message in ended.document["error"]["message"]
    assert service.created == {}


def test_a_broken_post_creates_one_job(nas_client: Command) -> None:
    """The second try carries the first one's key."""
    service = FakeService()
    keys: list[str] = []
    create = service._create

    def twice(request: object, key: str) -> object:
        keys.append(key)
        return create(request, key) if len(keys) > 1 else (503, {"Opclock-Api-Version": "2"}, b"{}")  # type: ignore[arg-type]

    service._create = twice  # type: ignore[method-assign, assignment]
    with serving(service) as url:
        ended = nas_client("profile", "--url", url, "--space", "toy_dag", "--input-size", "64x128", "--json")
    assert ended.code == ExitCode.DONE
    assert len(keys) == 2
    assert len(set(keys)) == 1


def test_a_broken_stream_is_replaced_by_asking_and_that_is_said(nas_client: Command) -> None:
    service = FakeService()
    service.final, service.streams = JobState.PLANNED, [[]]
    answered = service._job

    def job_at_last(job_id: str) -> object:
        job = answered(job_id)
        asked = sum(request.startswith("GET") for request in service.requests)
        return job.model_copy(update={"state": JobState.DONE}) if asked > 12 else job

    service._job = job_at_last  # type: ignore[method-assign, assignment]
    with serving(service) as url:
        ended = nas_client("profile", "--url", url, "--space", "toy_dag", "--input-size", "64x128", "--json")
    assert ended.code == ExitCode.DONE
    assert "keeps breaking (it ended before the job did); asking every 0.001 s instead" in ended.err


def test_validate_writes_a_report(nas_client: Command, folder: Path) -> None:
    with serving(FakeService(TABLE)) as url:
        ended = nas_client("validate", "--url", url, "--space", "toy_dag", "-o", folder / "report", "--json")
    assert ended.code == ExitCode.DONE
    assert ended.document == json.loads((folder / "report" / "validation.json").read_text())
    assert ended.document["architectures"] == 40
    assert ended.document["raw"]["pearson"] > 0.99


def test_a_report_calibrates_later_estimates(nas_client: Command, folder: Path) -> None:
    with serving(FakeService(TABLE)) as url:
        nas_client("validate", "--url", url, "--space", "toy_dag", "-o", folder)
        nas_client("pull", "--url", url, "-o", folder / "table.csv")
    with (folder / "points.csv").open(encoding="utf-8") as file:
        row = next(csv.DictReader(file))
    measured_ms = float(row["measured_ms"])
    (folder / "network.json").write_text(row["architecture"])
    ended = nas_client(
        *("estimate", "--table", folder / "table.csv", "--architecture", folder / "network.json"),
        *("--calibration", folder / "calibration.json", "--json"),
    )
    low, high = ended.document["interval_ms"]
    assert low < measured_ms < high


def test_validate_chooses_the_table_of_the_services_target(nas_client: Command) -> None:
    elsewhere = make_table(target=TARGET.model_copy(update={"device": "Other CPU"}))
    isolated = make_table(protocol=ProtocolName.ISOLATED)
    service = FakeService(elsewhere, isolated, TABLE)
    with serving(service) as url:
        assert nas_client("validate", "--url", url, "--space", "toy_dag").code == ExitCode.DONE
        (job,) = service.created.values()
        assert job.table_id == TABLE_ID
        ended = nas_client("validate", "--url", url, "--space", "toy_dag", "--table", elsewhere.info.id(), "--json")
    assert ended.code == ExitCode.BAD_INPUT
    assert "device: Other CPU here, Paper CPU there" in ended.document["error"]["message"]


def test_validate_compares_tables(nas_client: Command, folder: Path) -> None:
    isolated = make_table(protocol=ProtocolName.ISOLATED)
    with serving(FakeService(TABLE, isolated)) as url:
        named = ("--table", TABLE_ID, "--table", isolated.info.id())
        ended = nas_client("validate", "--url", url, "--space", "toy_dag", *named, "-o", folder)
    assert ended.code == ExitCode.DONE
    assert ended.out.count("calibrated") == 2
    assert (folder / "comparison.md").read_text().count("\n") == 7


def test_validate_compares_the_protocols_of_the_services_own_target(nas_client: Command, folder: Path) -> None:
    tables = {protocol: make_table(protocol=protocol) for protocol in ProtocolName}
    elsewhere = make_table(target=TARGET.model_copy(update={"device": "Other CPU"}), protocol=ProtocolName.ISOLATED_HOT)
    named = [option for protocol in ProtocolName for option in ("--protocol", protocol.value)]
    service = FakeService(elsewhere, *tables.values())
    with serving(service) as url:
        ended = nas_client("validate", "--url", url, "--space", "toy_dag", *named, "-o", folder)
        refused = nas_client("validate", "--url", url, "--space", "toy_dag", *named, "--table", TABLE_ID)
    assert ended.code == ExitCode.DONE
    assert len(service.created) == 1, "the networks are measured once, whatever they are compared with"
    comparison = (folder / "comparison.md").read_text()
    for protocol, table in tables.items():
        assert f"| {protocol.value} ({table.info.id()[:8]}) | sum |" in comparison
        assert table.info.id() in ended.out
    assert refused.code == ExitCode.USAGE


def test_validate_without_a_table(nas_client: Command) -> None:
    with serving(FakeService()) as url:
        ended = nas_client("validate", "--url", url, "--space", "toy_dag", "--json")
    assert ended.code == ExitCode.BAD_INPUT
    assert ended.document["error"]["code"] == ErrorCode.NOT_FOUND.value
    assert "nas-client profile" in ended.document["error"]["hint"]


def test_validate_ends_with_4_when_networks_are_left_out(nas_client: Command) -> None:
    service = FakeService(TABLE)
    with serving(service) as url:
        nas_client("validate", "--url", url, "--space", "toy_dag")
        (job,) = service.created.values()
        assert job.request.workloads is not None
        service.failing = {job.request.workloads[0].key()}
        ended = nas_client("validate", "--url", url, "--space", "toy_dag", "--json")
    assert ended.code == ExitCode.WORKLOADS_FAILED
    assert ended.document["architectures"] == 39
    assert "1 of 40 networks are left out" in ended.err
    assert "out_of_memory: it does not fit" in ended.err


COMMANDS = {
    "pull": ("pull", "-o", "table.csv"),
    "profile": ("profile", "--space", "toy_dag", "--input-size", "64x128"),
    "validate": ("validate", "--space", "toy_dag"),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_without_a_service_end_with_5(nas_client: Command, closed_port: str, command: str) -> None:
    ended = nas_client(*COMMANDS[command], "--url", closed_port, "--json")
    assert ended.code == ExitCode.UNREACHABLE
    assert ended.document["error"]["code"] == ErrorCode.UNREACHABLE.value
    assert "profiler-service serve" in ended.document["error"]["hint"]


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_with_a_slow_service_end_with_5(nas_client: Command, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPCLOCK_CLIENT_READ_TIMEOUT_S", "0.05")
    with serving(FakeService(), [silent] * 6) as url:
        ended = nas_client(*COMMANDS[command], "--url", url, "--json")
    assert ended.code == ExitCode.UNREACHABLE
    assert "did not answer in time" in ended.document["error"]["message"]


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("fault", "message"), [(OTHER_VERSION, "speaks version 1"), (says("200 OK"), "is no profiler service")]
)
def test_commands_with_another_service_end_with_5(nas_client: Command, command: str, fault: Fault, message: str) -> None:
    with serving(FakeService(), [fault]) as url:
        ended = nas_client(*COMMANDS[command], "--url", url, "--json")
    assert ended.code == ExitCode.UNREACHABLE
    assert message in ended.document["error"]["message"]


@pytest.mark.parametrize("command", COMMANDS)
def test_an_address_that_is_none_ends_with_3(nas_client: Command, command: str) -> None:
    ended = nas_client(*COMMANDS[command], "--url", "box:8731", "--json")
    assert ended.code == ExitCode.BAD_INPUT
    assert "service address 'box:8731' is no HTTP URL" in ended.document["error"]["message"]


PROFILE = ("profile", "--space", "toy_dag", "--input-size", "64x128")


def test_no_wait_creates_the_job_and_ends(nas_client: Command) -> None:
    service = FakeService()
    with serving(service) as url:
        ended = nas_client(*PROFILE, "--url", url, "--no-wait", "--json")
        (job,) = service.created.values()
        assert ended.code == ExitCode.DONE
        assert ended.document["job"] == job.model_dump(mode="json")
        assert ended.document["table_id"] == TABLE_ID
        people = nas_client(*PROFILE, "--url", url, "--no-wait")
        assert people.out.startswith(f"job job1 is done; its results go into table {TABLE_ID}\n")
        assert "nas-client cancel job1" in people.out
        assert nas_client(*PROFILE, "--url", url, "--no-wait", "--require", "noisy").code == ExitCode.USAGE
    assert service.requests == ["POST /v1/jobs"] * 2, "nothing was followed"


def test_jobs_lists_them_and_cancel_ends_one(nas_client: Command) -> None:
    service = FakeService()
    with serving(service) as url:
        assert nas_client("jobs", "--url", url).out == "the service has no jobs\n"
        for _ in range(3):
            nas_client(*PROFILE, "--url", url, "--no-wait")
        listed = nas_client("jobs", "--url", url, "--limit", 2, "--json")
        assert [job["id"] for job in listed.document["jobs"]] == ["job2", "job1"]
        rows = nas_client("jobs", "--url", url).out.splitlines()
        assert [row.split()[0] for row in rows] == ["job", "job2", "job1", "job0"]
        assert "toy_dag 64×128 float32" in rows[1]
        assert nas_client("pause", "job1", "--url", url).out.startswith("job job1 is paused; `nas-client resume job1`")
        assert nas_client("resume", "job1", "--url", url, "--json").document["job"]["state"] == "queued"
        cancelled = nas_client("cancel", "job1", "--url", url, "--json")
        assert cancelled.document["job"]["state"] == "cancelled"
        assert nas_client("cancel", "job1", "--url", url).out == "job job1 is cancelled\n"
        service.ended = {"job0"}
        for job, message in {"job0": "job job0 has ended", "../tables": "no /v1/jobs/..%2Ftables"}.items():
            refused = nas_client("cancel", job, "--url", url, "--json")
            assert refused.code == ExitCode.BAD_INPUT
            assert refused.document["error"]["message"] == message


def test_a_failed_job_says_why_in_the_list(nas_client: Command) -> None:
    service = FakeService()
    service.final = JobState.FAILED
    with serving(service) as url:
        nas_client(*PROFILE, "--url", url, "--no-wait")
        assert nas_client("jobs", "--url", url).out.rstrip().endswith("the device went away")


def test_tables_lists_them(nas_client: Command) -> None:
    service = FakeService()
    with serving(service) as url:
        assert "holds no table" in nas_client("tables", "--url", url).out
        service.tables = {table.info.id(): table for table in (TABLE, make_table(protocol=ProtocolName.ISOLATED))}
        document = nas_client("tables", "--url", url, "--json").document
        assert [table["id"] for table in document["tables"]] == list(service.tables)
        rows = nas_client("tables", "--url", url).out.splitlines()[1:]
    assert [row.split()[0] for row in rows] == list(service.tables)
    assert f"Paper CPU, paper 1.0, 1 thread  {len(TABLE.entries):>7}       0" in rows[0]
    assert service.requests == ["GET /v1/tables"] * 3, "no table is fetched"


def test_a_thousand_tables_are_listed_and_refused_at_once(nas_client: Command) -> None:
    """What a table should hold takes 10 ms to find out, for each search space."""
    info = TABLE.info
    service = FakeService()
    spaces = [info.space.model_copy(update={"input_size": (64, 128 + 2 * index)}) for index in range(1_000)]
    service.tables = {new.id(): Table(info=new) for new in (info.model_copy(update={"space": space}) for space in spaces)}
    with serving(service) as url:
        assert len(nas_client("tables", "--url", url).out.splitlines()) == 1_001
        with patched_grid() as grids:
            ended = nas_client("pull", "--url", url, "-o", "t.csv", "--json")
    assert len(grids) <= 10
    assert "the service holds 1000 tables: " in ended.document["error"]["message"]
    assert ended.document["error"]["message"].endswith("; and 990 more")
    assert "nas-client tables" in ended.document["error"]["hint"]


@contextmanager
def patched_grid() -> Iterator[list[TableInfo]]:
    """The tables of which somebody asks for the grid."""
    asked: list[TableInfo] = []
    with pytest.MonkeyPatch.context() as patch:
        inner = coverage.grid_size
        patch.setattr(coverage, "grid_size", lambda info: asked.append(info) or inner(info))
        yield asked


def test_what_a_service_says_cannot_steer_the_terminal(nas_client: Command) -> None:
    hostile = "\x1b]0;owned\x07\x9b2J"
    target = TARGET.model_copy(update={"device": f"CPU {hostile}"})
    service = FakeService(make_table(target=target), target=target)
    with serving(service) as url:
        ended = nas_client("tables", "--url", url)
        assert "CPU \N{REPLACEMENT CHARACTER}]0;owned" in ended.out
        shown = ended.out + nas_client("pull", "--url", url, "-o", "/dev/null/t.csv").err
    assert not {"\x1b", "\x07", "\x9b"} & set(shown)


def test_a_token_is_sent_by_every_command(nas_client: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPCLOCK_CLIENT_TOKEN", "secret")
    service = FakeService(TABLE)
    service.token = "secret"
    with serving(service) as url:
        assert nas_client("tables", "--url", url).code == ExitCode.DONE
        assert nas_client(*PROFILE, "--url", url).code == ExitCode.DONE
        assert nas_client("sensitivity", "--table", url, "--json").document["operator_ms"] > 0
        monkeypatch.setenv("OPCLOCK_CLIENT_TOKEN", "other")
        refused = nas_client("tables", "--url", url)
        assert refused.code == ExitCode.BAD_INPUT
        assert "does not accept the token (401)" in refused.err
        monkeypatch.delenv("OPCLOCK_CLIENT_TOKEN")
        assert "asks for a token (401)" in nas_client("tables", "--url", url).err
