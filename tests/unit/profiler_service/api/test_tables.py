"""Tables over HTTP: negotiated, cached by strong tags, compressed, and looked up without measuring."""

from __future__ import annotations

import json

import pytest
from starlette.testclient import TestClient

from models.spec.architectures import SpaceSpec
from models.spec.measurements import Measurement, Status
from models.spec.operators import OperatorSpec
from models.spec.table_files import TableFormat, from_bytes
from models.spec.tables import TableInfo
from models.spec.targets import TargetSpec
from profiler_service.storage.store import Store

JSON, ARROW, CSV = "application/json", "application/vnd.apache.arrow.stream", "text/csv"
FORMATS = {JSON: TableFormat.JSON, ARROW: TableFormat.ARROW, CSV: TableFormat.CSV}
PLAIN = {"Accept-Encoding": "identity"}


def operator(channels: int) -> OperatorSpec:
    return OperatorSpec(kind="conv3x3", in_channels=channels, out_channels=channels, height=8, width=8)


@pytest.fixture
def table_id(store: Store) -> str:
    info = TableInfo(
        target=TargetSpec(device="CPU", backend="paper", threads=1), space=SpaceSpec(name="s", input_size=(64, 64))
    )
    table_id = store.ensure_table(info)
    for channels in range(1, 9):
        store.save_measurement(table_id, Measurement(workload=operator(channels), value_ms=channels / 7))
    store.save_measurement(table_id, Measurement(workload=operator(9), status=Status.CRASHED, message="killed by SIGSEGV"))
    return table_id


@pytest.mark.parametrize("media_type", FORMATS)
def test_a_table_arrives_whole_in_each_form(client: TestClient, store: Store, table_id: str, media_type: str) -> None:
    response = client.get(f"/v1/tables/{table_id}", headers={"Accept": media_type})

    assert response.status_code == 200
    assert response.headers["Content-Type"].partition(";")[0] == media_type
    assert from_bytes(response.content, FORMATS[media_type]) == store.table(table_id)


def test_a_client_without_wishes_gets_json(client: TestClient, table_id: str) -> None:
    assert json.loads(client.get(f"/v1/tables/{table_id}").content)


def test_a_form_that_there_is_not(client: TestClient, table_id: str) -> None:
    response = client.get(f"/v1/tables/{table_id}", headers={"Accept": "image/png, text/csv;q=0"})
    assert response.status_code == 406
    assert response.json()["error"]["code"] == "not_acceptable"
    assert all(media_type in response.json()["error"]["hint"] for media_type in FORMATS)


def test_every_representation_has_a_strong_tag_of_its_own(client: TestClient, table_id: str) -> None:
    tags = {}
    for media_type in FORMATS:
        for coding in ("identity", "gzip"):
            response = client.get(f"/v1/tables/{table_id}", headers={"Accept": media_type, "Accept-Encoding": coding})
            assert response.headers.get("Content-Encoding", "identity") == coding
            assert response.headers["Vary"] == "Accept, Accept-Encoding"
            tags[media_type, coding] = response.headers["ETag"]

    assert len(set(tags.values())) == 6
    assert all(tag.startswith('"') and tag.endswith('"') for tag in tags.values())


@pytest.mark.parametrize("coding", ["identity", "gzip"])
def test_equal_tags_mean_equal_bytes(client: TestClient, table_id: str, coding: str) -> None:
    def raw() -> tuple[str, bytes]:
        with client.stream("GET", f"/v1/tables/{table_id}", headers={"Accept-Encoding": coding}) as response:
            return response.headers["ETag"], b"".join(response.iter_raw())

    assert raw() == raw()


def test_compression_leaves_the_content_alone(client: TestClient, table_id: str) -> None:
    path = f"/v1/tables/{table_id}"
    with client.stream("GET", path, headers={"Accept-Encoding": "gzip"}) as response:
        sent = b"".join(response.iter_raw())
    plain = client.get(path, headers=PLAIN).content

    assert len(sent) < len(plain) / 2
    assert client.get(path, headers={"Accept-Encoding": "gzip"}).content == plain


def test_a_client_that_has_the_table_gets_304(client: TestClient, table_id: str) -> None:
    path = f"/v1/tables/{table_id}"
    tag = client.get(path).headers["ETag"]

    response = client.get(path, headers={"If-None-Match": f'"other", {tag}'})

    assert (response.status_code, response.content) == (304, b"")
    assert response.headers["ETag"] == tag
    assert response.headers["Vary"] == "Accept, Accept-Encoding"


def test_the_tag_of_one_form_does_not_stand_for_another(client: TestClient, table_id: str) -> None:
    path = f"/v1/tables/{table_id}"
    tag = client.get(path, headers={"Accept": JSON, **PLAIN}).headers["ETag"]
    for other in ({"Accept": CSV, **PLAIN}, {"Accept": JSON, "Accept-Encoding": "gzip"}):
        assert client.get(path, headers={"If-None-Match": tag, **other}).status_code == 200


def test_a_new_measurement_makes_a_new_tag(client: TestClient, store: Store, table_id: str) -> None:
    path = f"/v1/tables/{table_id}"
    tag = client.get(path).headers["ETag"]
    store.save_measurement(table_id, Measurement(workload=operator(1), value_ms=3.0))

    response = client.get(path, headers={"If-None-Match": tag})

    assert response.status_code == 200
    assert response.headers["ETag"] != tag


def test_tables_are_listed_with_their_counts(client: TestClient, store: Store, table_id: str) -> None:
    (listed,) = client.get("/v1/tables").json()
    assert (listed["id"], listed["entries"], listed["failed"]) == (table_id, 9, 1)
    assert listed["etag"] in client.get(f"/v1/tables/{table_id}").headers["ETag"]


def test_a_lookup_answers_in_order_with_null_for_a_miss(client: TestClient, table_id: str) -> None:
    wanted = [operator(n).model_dump(mode="json") for n in (2, 77, 9, 2)]

    results = client.post("/v1/lookup", json={"table_id": table_id, "workloads": wanted}).json()["results"]

    assert [result and result["value_ms"] for result in results] == [2 / 7, None, None, 2 / 7]
    assert results[1] is None
    assert results[2]["status"] == "crashed"


def test_a_lookup_measures_nothing(client: TestClient, store: Store, table_id: str) -> None:
    client.post("/v1/lookup", json={"table_id": table_id, "workloads": [operator(77).model_dump(mode="json")]})
    assert store.jobs() == []


def test_a_lookup_in_an_unknown_table_is_no_row_of_misses(client: TestClient) -> None:
    response = client.post("/v1/lookup", json={"table_id": "0" * 16, "workloads": [operator(1).model_dump(mode="json")]})
    assert response.status_code == 404
    assert "0" * 16 in response.json()["error"]["message"]


def test_a_large_answer_to_a_lookup_is_compressed(client: TestClient, table_id: str) -> None:
    body = {"table_id": table_id, "workloads": [operator(n).model_dump(mode="json") for n in range(1, 9)]}
    assert client.post("/v1/lookup", json=body, headers={"Accept-Encoding": "gzip"}).headers["Content-Encoding"] == "gzip"
    assert "Content-Encoding" not in client.post("/v1/lookup", json=body, headers=PLAIN).headers
