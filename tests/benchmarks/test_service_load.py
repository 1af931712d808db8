"""How fast the service hands out a large table and looks workloads up, on loopback. Run it on a quiet machine with `-s`."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles
from typing import Any

import httpx
import psutil
import pytest

from models.spec.measurements import Measurement
from models.spec.operators import OperatorSpec
from models.spec.tables import Table
from models.spec.wire import ARROW_MEDIA_TYPE, CSV_MEDIA_TYPE, JSON_MEDIA_TYPE, LookupRequest
from profiler_service.storage.store import Store
from tests.support import table_samples as samples
from tests.support.local_service import ServiceProcess, serving

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(3_600)]

ROWS, CLIENTS, LOOKED_UP, SECONDS = 100_000, 64, 1_000, 20.0
PATIENCE_S = 900.0
"""For one answer. A busy machine may take minutes for the first answer with a large table; that is slow, not wrong."""


def operator(number: int) -> OperatorSpec:
    height, rest = divmod(number, 1_000)
    return OperatorSpec(kind="conv3x3", in_channels=8, out_channels=8, height=height + 1, width=rest + 1)


@dataclass(frozen=True)
class Loaded:
    """A service with a table of `ROWS` entries."""

    service: ServiceProcess
    table_id: str

    @property
    def rss_bytes(self) -> int:
        return int(psutil.Process(self.service.process.pid).memory_info().rss)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loaded]:
    path: Path = tmp_path_factory.mktemp("load") / "opclock.sqlite"
    entries = tuple(
        Measurement(workload=operator(number), value_ms=0.1 + 1e-6 * number, stderr_ms=1e-4, samples=72, rounds=6)
        for number in range(ROWS)
    )
    with Store.open(path) as store:
        table_id = store.import_table(Table(info=samples.info(), entries=entries))
    with serving(path) as service:
        yield Loaded(service, table_id)


def timed(client: httpx.Client, method: str, path: str, **request: Any) -> tuple[float, httpx.Response]:
    """Seconds until the whole answer is there, and the answer."""
    start_s = time.perf_counter()
    answer = client.request(method, path, **request)
    return time.perf_counter() - start_s, answer


@pytest.mark.parametrize("media_type", [ARROW_MEDIA_TYPE, JSON_MEDIA_TYPE, CSV_MEDIA_TYPE])
def test_a_large_table_in_each_form(loaded: Loaded, media_type: str) -> None:
    path, headers = f"/v1/tables/{loaded.table_id}", {"Accept": media_type, "Accept-Encoding": "identity"}
    with httpx.Client(base_url=loaded.service.url, timeout=PATIENCE_S) as client:
        first_s, answer = timed(client, "GET", path, headers=headers)
        again_s = min(timed(client, "GET", path, headers=headers)[0] for _ in range(5))
        held = headers | {"If-None-Match": answer.headers["ETag"]}
        unchanged = [timed(client, "GET", path, headers=held) for _ in range(20)]
    assert answer.status_code == 200
    assert {answer.status_code for _, answer in unchanged} == {304}
    print(
        f"\n{media_type}: {len(answer.content) / 2**20:.1f} MiB, first {first_s:.2f} s, again {again_s:.3f} s, "
        f"304 {1e3 * min(seconds for seconds, _ in unchanged):.1f} ms, service {loaded.rss_bytes / 2**20:.0f} MiB"
    )


def test_lookups_from_many_clients(loaded: Loaded) -> None:
    taken_s: list[float] = []
    wrong: list[int | str] = []
    until_s = time.monotonic() + SECONDS

    def ask(number: int) -> None:
        wanted = tuple(operator((number * LOOKED_UP + index) % ROWS) for index in range(LOOKED_UP))
        body = LookupRequest(table_id=loaded.table_id, workloads=wanted).model_dump_json()
        headers = {"Content-Type": JSON_MEDIA_TYPE}
        with httpx.Client(base_url=loaded.service.url, timeout=PATIENCE_S) as client:
            while time.monotonic() < until_s:
                try:
                    seconds, answer = timed(client, "POST", "/v1/lookup", content=body, headers=headers)
                except httpx.TransportError as error:  # in a thread of its own, where nobody would see which one it was
                    wrong.append(repr(error))
                    return
                taken_s.append(seconds)
                if answer.status_code != 200:
                    wrong.append(answer.status_code)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    hundredths = quantiles(taken_s, n=100)
    print(
        f"\n{CLIENTS} clients, {LOOKED_UP} workloads a lookup: {len(taken_s) / SECONDS:.1f} lookups/s, "
        f"p50 {hundredths[49]:.2f} s, p99 {hundredths[98]:.2f} s, service {loaded.rss_bytes / 2**20:.0f} MiB"
    )
