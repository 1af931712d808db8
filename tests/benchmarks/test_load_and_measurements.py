"""Whether clients of a service move what it measures meanwhile. Run it on a quiet machine of two cores or more, with `-s`.

`pytest -s -m benchmark tests/benchmarks/test_load_and_measurements.py -k full` takes about five minutes.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from statistics import median

import pytest

from models.spaces.registry import create_space
from models.spec.architectures import SpaceSpec
from models.spec.measurements import Budget, Measurement
from models.spec.operators import OperatorSpec
from models.spec.tables import Table, TableInfo
from models.spec.verdicts import value_stderr_ms
from models.spec.wire import JobCreate, JobState
from nas_client.service import ServiceClient
from nas_client.settings import ClientSettings
from profiler_service.storage.store import Store
from tests.benchmarks.client_load import loaded
from tests.support import table_samples as samples
from tests.support.local_service import ServiceProcess, serving

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(7_200)]

SPACE = create_space(SpaceSpec(name="fasterseg", input_size=(128, 256)))
WITHIN = 2.0
"""Standard errors of a difference within which two values agree: 95 % of those that are the same do."""


@dataclass(frozen=True)
class Size:
    """How much is asked for and measured."""

    rows: int
    looked_up: int
    clients: int
    entries: int
    budget: Budget
    repeats: int


SIZES = {
    "small": Size(rows=2_000, looked_up=200, clients=8, entries=6, budget=Budget.QUICK, repeats=1),
    "full": Size(rows=100_000, looked_up=1_000, clients=64, entries=50, budget=Budget.NORMAL, repeats=3),
}


@dataclass(frozen=True)
class Measured:
    """What one job came to."""

    info: TableInfo
    entries: dict[str, Measurement]


def operator(number: int) -> OperatorSpec:
    height, rest = divmod(number, 1_000)
    return OperatorSpec(kind="conv3x3", in_channels=8, out_channels=8, height=height + 1, width=rest + 1)


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_the_same_entries_with_and_without_clients(size: Size, tmp_path: Path) -> None:
    path = tmp_path / "opclock.sqlite"
    rows = tuple(Measurement(workload=operator(number), value_ms=0.1, stderr_ms=1e-4) for number in range(size.rows))
    with Store.open(path) as store:
        asked_for = store.import_table(Table(info=samples.info(), entries=rows))
    spaced = SPACE.operators()[:: max(len(SPACE.operators()) // size.entries, 1)][: size.entries]
    wanted = [
        [operator((start + index) % size.rows).model_dump(mode="json") for index in range(size.looked_up)]
        for start in range(0, size.clients * size.looked_up, size.looked_up)
    ]
    with serving(path) as service:
        quiet, under_load = [], []
        for _ in range(size.repeats):  # in turn, so that a drift of the machine is in both
            quiet.append(measure(service, spaced, size))
            with loaded(service.url, asked_for, wanted, size.clients):
                under_load.append(measure(service, spaced, size))
            quiet.append(measure(service, spaced, size))
    pairs = {
        "quiet and quiet": [pair for index in range(0, len(quiet), 2) for pair in compared(quiet[index], quiet[index + 1])],
        "quiet and under load": [pair for index, one in enumerate(under_load) for pair in compared(quiet[2 * index], one)],
    }
    print(f"\n{size.entries} entries, {size.clients} clients, a table of {size.rows} rows, {size.repeats} times:")
    for name, found in pairs.items():
        share = sum(abs(apart) <= WITHIN for apart, _ in found) / len(found)
        moved = median(ratio for _, ratio in found if ratio is not None)
        print(f"  {name}: {share:.1%} agree within their uncertainty; median ratio {moved:.4f}")
    assert all(len(found) == size.entries * size.repeats for found in pairs.values())


def measure(service: ServiceProcess, operators: tuple[OperatorSpec, ...], size: Size) -> Measured:
    """The entries as one job measured them anew."""
    request = JobCreate(space=SPACE.spec, workloads=operators, budget=size.budget, remeasure=True)
    with ServiceClient.connect(service.url, ClientSettings(deadline_s=900, read_timeout_s=900)) as client:
        job = client.create_job(request)
        while not job.state.final:
            time.sleep(1.0)
            job = client.job(job.id)
        assert job.state is JobState.DONE, job.message
        info = next(table.info for table in client.tables() if table.id == job.table_id)
        found = client.lookup(job.table_id, operators)
    measured = {entry.key(): entry for entry in found if entry is not None}
    failed = [entry for entry in measured.values() if entry.value_ms is None]
    assert len(measured) == len(operators)
    assert not failed, failed
    return Measured(info, measured)


def compared(one: Measured, other: Measured) -> list[tuple[float, float | None]]:
    """Of each entry, how many standard errors two values are apart, and their ratio (None where one is 0)."""
    found = []
    for key, first in one.entries.items():
        second = other.entries[key]
        stderr_ms = sqrt(value_stderr_ms(first, one.info) ** 2 + value_stderr_ms(second, other.info) ** 2)
        assert first.value_ms is not None
        assert second.value_ms is not None
        ratio = second.value_ms / first.value_ms if first.value_ms and second.value_ms else None
        found.append(((second.value_ms - first.value_ms) / stderr_ms, ratio))
    return found
