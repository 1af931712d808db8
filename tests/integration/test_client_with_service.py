"""The client's commands against the real application, whose runner writes down computed times: both sides mean the same."""

from __future__ import annotations

import csv
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
import structlog.testing

from models.spaces.registry import create_space
from models.spec.architectures import ArchitectureSpec
from models.spec.errors import ErrorCode, ExitCode
from models.spec.measurements import Measurement, Workload
from models.spec.table_files import read_table
from models.spec.wire import JobCounts, JobCreate, JobPublic, JobState
from nas_client.errors import ServiceError
from nas_client.service import ServiceClient
from nas_client.settings import ClientSettings
from profiler_service.api.app import create_app
from profiler_service.jobs.queue import JobQueue
from profiler_service.settings import Settings
from profiler_service.storage.store import Store
from profiler_service.worker.protocol import BackendDescription
from tests.support.client_command import Command, command_fixture
from tests.support.fake_service import SPACE, TARGET, network_ms, operator_ms
from tests.support.local_service import running

__all__ = ["command_fixture"]

BACKEND = BackendDescription(target=TARGET, dtypes=("float32",), reads_onnx=False, builds_on_device=False)
TOY = ("--space", "toy_dag", "--input-size", "64x128")


class ComputingRunner:
    """Measures by computing."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def run(
        self,
        job_id: str,
        on_progress: Callable[[JobPublic], None],
        cancelled: threading.Event,
        interrupted: threading.Event,
    ) -> None:
        job = self.store.job(job_id)
        workloads: tuple[Workload, ...] = job.request.workloads or create_space(job.request.space).operators()
        counts = JobCounts(total=len(workloads))
        on_progress(self.store.update_job(job_id, state=JobState.PLANNED, counts=counts, phase="round 1"))
        for workload in workloads:
            value = network_ms(workload) if isinstance(workload, ArchitectureSpec) else operator_ms(workload)
            self.store.save_measurement(
                job.table_id, Measurement(workload=workload, value_ms=value, rounds=2, between_round_spread=0.01)
            )
        counts = JobCounts(total=len(workloads), measured=len(workloads))
        on_progress(self.store.update_job(job_id, state=JobState.DONE, counts=counts, fraction=1.0))

    def abort(self, job_id: str | None = None) -> None:
        return


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A service, and a cache of the client's own."""
    monkeypatch.setenv("OPCLOCK_CLIENT_CACHE_DIR", str(tmp_path / "cache"))
    settings = Settings.load(database=tmp_path / "opclock.sqlite")
    with (
        structlog.testing.capture_logs(),  # the service logs within this process, whose stdout belongs to the command
        Store.open(settings.database) as store,
        JobQueue(store, ComputingRunner(store)) as queue,  # type: ignore[arg-type]
        running(create_app(settings, store=store, queue=queue, backend=BACKEND)) as address,
    ):
        yield address


def test_the_whole_way_from_measuring_to_an_estimate(nas_client: Command, url: str, tmp_path: Path) -> None:
    table, report, network = tmp_path / "table.parquet", tmp_path / "report", tmp_path / "network.json"
    profiled = nas_client("profile", "--url", url, *TOY, "--json")
    assert profiled.code == ExitCode.DONE
    assert profiled.document["counts"] == {"total": 7, "reused": 0, "measured": 7, "failed": 0}

    pulled = nas_client("pull", "--url", url, "--table", profiled.document["table_id"], "-o", table, "--json")
    assert pulled.document["entries"] == 7
    found = read_table(table)
    assert (found.info.space, found.info.target) == (SPACE, TARGET)
    assert found.values_ms() == {operator.key(): operator_ms(operator) for operator in create_space(SPACE).operators()}

    validated = nas_client("validate", "--url", url, "--space", "toy_dag", "-o", report, "--post", "--json")
    assert validated.code == ExitCode.DONE
    assert validated.document["calibrated"]["mape"] < validated.document["raw"]["mape"] < 0.1
    assert validated.document["repeatability"] == pytest.approx(0.01)

    (posted,) = httpx.get(f"{url}/v1/tables/{profiled.document['table_id']}/validations").json()
    assert posted["networks"] == validated.document["architectures"]
    assert posted["summary"] == validated.document

    with (report / "points.csv").open(encoding="utf-8") as file:
        row = next(csv.DictReader(file))
    network.write_text(row["architecture"])
    estimated = nas_client(
        *("estimate", "--table", table, "--architecture", network),
        *("--calibration", report / "calibration.json", "--json"),
    )
    low, high = estimated.document["interval_ms"]
    assert low < network_ms(ArchitectureSpec.parse_json(network.read_bytes())) < high


def test_an_unchanged_table_is_confirmed_and_a_changed_one_sent(url: str) -> None:
    settings = ClientSettings.load()
    said: list[str] = []
    with ServiceClient.connect(url, settings, notice=said.append) as client:
        operators = create_space(SPACE).operators()
        measure(client, operators[:2])
        (listed,) = client.tables()
        first = client.table(listed.id)
        assert client.table(listed.id) == first
        measure(client, operators)
        assert len(client.table(listed.id).entries) == len(operators)
    assert said == []


def measure(client: ServiceClient, operators: tuple[Workload, ...]) -> None:
    job = client.create_job(JobCreate(space=SPACE, workloads=operators))
    *_, last = client.follow(job.id)
    assert last.state is JobState.DONE


def test_a_service_measures_for_other_numbers_of_classes(nas_client: Command, url: str) -> None:
    profiled = nas_client("profile", "--url", url, *TOY, "--classes", "5", "--json")
    assert profiled.document["job"]["request"]["space"]["classes"] == 5
    refused = nas_client("profile", "--url", url, *TOY, "--classes", "0", "--json")
    assert refused.code == ExitCode.BAD_INPUT
    assert "classes" in refused.document["error"]["message"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("profile", "--space", "toy_dog", "--input-size", "64x128"), ErrorCode.UNKNOWN_NAME, "unknown search space 'toy_dog'"),
        (("profile", "--space", "fasterseg", "--input-size", "100x100"), ErrorCode.INVALID_SPEC, "not divisible by 8"),
        (("profile", "--space", "fasterseg", "--input-size", "16384x16384"), ErrorCode.WORKLOAD_TOO_LARGE, "the limit is"),
        (("pull", "-o", "table.csv", "--table", "0123456789abcdef"), ErrorCode.NOT_FOUND, "holds no table"),
        (("validate", "--space", "toy_dag"), ErrorCode.NOT_FOUND, "holds no table"),
    ],
)
def test_refusals_of_the_service_reach_the_user(
    nas_client: Command, url: str, arguments: tuple[str, ...], code: ErrorCode, message: str
) -> None:
    ended = nas_client(*arguments, "--url", url, "--json")
    assert ended.code == ExitCode.BAD_INPUT
    assert ended.document["error"]["code"] == code.value
    assert message in ended.document["error"]["message"]
    assert ended.document["error"]["hint"]


def test_ids_that_could_not_be_tables_stay_within_the_path(url: str) -> None:
    with ServiceClient.connect(url, ClientSettings.load()) as client, pytest.raises(ServiceError) as caught:
        client.table("../jobs")
    assert caught.value.exit_code is ExitCode.BAD_INPUT
    assert caught.value.request_id


def test_the_service_says_what_it_is(url: str) -> None:
    with ServiceClient.connect(url, ClientSettings.load()) as client:
        assert client.target().target == TARGET
        assert "toy_dag" in [space.name for space in client.spaces()]
        assert client.tables() == []
