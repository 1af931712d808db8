"""What one caller may ask for, so that others are answered as well."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from models.spec.operators import OperatorSpec
from profiler_service.api.app import create_app
from profiler_service.api.errors import RequestError
from profiler_service.api.rates import MOST_CALLERS, RequestRates, StreamPlaces
from profiler_service.settings import Settings
from profiler_service.storage.store import Store
from profiler_service.tokens import Role, make_token
from tests.unit.profiler_service.api.conftest import BACKEND, IdleQueue, TestClient


def test_a_caller_may_send_a_burst_and_then_goes_on_at_the_rate() -> None:
    now_s = 100.0
    rates = RequestRates(5.0, clock=lambda: now_s)
    assert [rates.wait_s("a") for _ in range(10)] == [0.0] * 10
    assert rates.wait_s("a") == pytest.approx(0.2)
    assert rates.wait_s("b") == 0.0, "each caller has a bucket of its own"
    now_s += 0.4
    assert [rates.wait_s("a") == 0.0 for _ in range(3)] == [True, True, False]
    now_s += 1e6
    assert [rates.wait_s("a") for _ in range(11)].count(0.0) == 10, "no more is saved up"


def test_callers_without_end_take_bounded_memory() -> None:
    rates = RequestRates(1.0, clock=lambda: 0.0)
    for number in range(2 * MOST_CALLERS):
        rates.wait_s(str(number))
    assert len(rates._buckets) == MOST_CALLERS


def test_streams_have_places_for_all_and_for_one() -> None:
    places = StreamPlaces(4)
    with ExitStack() as held:
        for caller in ("a", "a", "b"):
            held.enter_context(places.one(caller))
        with pytest.raises(RequestError, match="a has 2 event streams open"):
            held.enter_context(places.one("a"))
        held.enter_context(places.one("c"))
        with pytest.raises(RequestError, match="4 event streams are open"):
            held.enter_context(places.one("d"))
    with places.one("a"), places.one("a"):
        pass


def test_too_many_requests_of_a_token_are_told_when_to_come_back(settings: Settings, store: Store, queue: IdleQueue) -> None:
    slow = settings.model_copy(update={"max_requests_per_s": 0.5})
    app = create_app(slow, store=store, queue=queue, backend=BACKEND)  # type: ignore[arg-type]
    tokens = []
    for name in ("ci", "search"):
        text, stored = make_token(name, Role.READ, expires_at=None)
        store.add_token(stored)
        tokens.append({"Authorization": f"Bearer {text}"})
    with TestClient(app) as client:
        assert client.get("/v1/target", headers=tokens[0]).status_code == 200
        refused = client.get("/v1/target", headers=tokens[0])
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "too_many_requests")
        assert refused.headers["Retry-After"] in ("1", "2")
        assert client.get("/healthz", headers=tokens[0]).status_code == 200
        assert client.get("/v1/target", headers=tokens[1]).status_code == 200, "others are answered"


def test_a_job_that_would_take_days_is_refused_before_it_is_queued(client: TestClient, store: Store) -> None:
    large = OperatorSpec(kind="conv3x3", in_channels=1024, out_channels=1024, height=512, width=512)
    job = {"space": {"name": "fasterseg", "input_size": [128, 256]}, "workloads": [large.model_dump(mode="json")] * 450}
    refused = client.post("/v1/jobs", json=job)
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "workload_too_large")
    assert "the workloads of this job take about 1." in refused.json()["error"]["message"]
    assert store.jobs() == []
