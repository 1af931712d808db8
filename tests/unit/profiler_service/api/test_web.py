"""The pages as the service writes them: who may see and change what, odd entries, and files that are those of the build."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

import pytest

from models.spec.measurements import Status
from models.spec.table_files import TableColumns, TableFormat
from models.spec.validations import ValidationCreate, ValidationPoint
from models.spec.wire import JobCounts, JobCreate, JobState
from profiler_service.api import access
from profiler_service.api.app import create_app
from profiler_service.api.sessions import LIFETIME_S, LIMIT, SessionBook
from profiler_service.settings import Settings
from profiler_service.storage.store import Store
from profiler_service.tokens import Role
from profiler_service.web.table_views import TableView
from tests.support import table_samples as samples
from tests.support.repository import ROOT
from tests.support.toy_space import ToySpace
from tests.unit.profiler_service.api.conftest import BACKEND, IdleQueue, TestClient
from tests.unit.profiler_service.api.test_access import bearer, token

HTML = {"Accept": "text/html"}


@pytest.fixture(autouse=True)
def always_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "FRESH_S", 0.0)


@pytest.fixture
def exposed(settings: Settings, store: Store, queue: IdleQueue) -> Iterator[TestClient]:
    app = create_app(settings, store=store, queue=queue, backend=BACKEND, exposed=True)  # type: ignore[arg-type]
    with TestClient(app) as client:
        yield client


def job(store: Store, **changes: Any) -> str:
    table_id = store.import_table(samples.table())
    created = store.create_job(JobCreate(space=samples.SPACE), table_id)
    return store.update_job(created.id, state=JobState.PLANNED, counts=JobCounts(total=9, measured=3, failed=1), **changes).id


def sign_in(client: TestClient, text: str, **form: str) -> Any:
    return client.post("/ui/login", data={"token": text, **form}, follow_redirects=False)


def csrf(client: TestClient) -> dict[str, str]:
    found = re.search(r"hx-headers='(.*?)'", client.get("/", headers=HTML).text)
    assert found is not None
    return dict(json.loads(found[1].replace("&#34;", '"')))


def test_the_files_are_those_that_the_build_wrote() -> None:
    folder = files("profiler_service.web") / "static"
    digests = json.loads((folder / "digests.json").read_text())
    assert {entry.name for entry in folder.iterdir()} == digests.keys() | {"digests.json"}
    for name, digest in digests.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest, f"{name}: run `make web`"


def test_every_page_loads_and_runs_files_of_this_service_alone(client: TestClient, store: Store) -> None:
    job_id = job(store)
    table_id = store.tables()[0].id
    posted = ValidationCreate(summary={"raw": {"mape": 0.01}}, points=(point(),))
    validation = store.add_validation(table_id, posted).id
    pages = ["/", f"/ui/jobs/{job_id}", f"/ui/tables/{table_id}", f"/ui/compare?a={table_id}&b={table_id}"]
    for path in [*pages, "/ui/compare", f"/ui/validations/{validation}", "/ui/login"]:
        answer = client.get(path)
        assert answer.status_code == 200, path
        assert answer.headers["Content-Security-Policy"].startswith("default-src 'self'; ")
        assert "unsafe" not in answer.headers["Content-Security-Policy"]
        assert set(re.findall(r"<script[^>]*>([^<]*)</script>", answer.text)) == {""}
        assert not re.search(r"\s(on\w+|style)=", answer.text)
        for address in re.findall(r'\b(?:src|href|action|hx-get|data-src)="([^"]*)"', answer.text):
            assert re.match(r"/(?!/)|#content$", address), address
            if address != "#content":
                assert client.get(address.replace("&amp;", "&")).status_code == 200, address


def point() -> ValidationPoint:
    return ValidationPoint(
        architecture=samples.architecture(), measured_ms=2.0, sum_ms=1.5, calibrated_ms=None, multiply_adds=1000
    )


def test_who_is_not_signed_in_gets_the_form_and_goes_on_from_there(exposed: TestClient, store: Store) -> None:
    table_id = store.import_table(samples.table())
    wanted = f"/ui/tables/{table_id}?x=1"
    turned_away = exposed.get(wanted, headers=HTML, follow_redirects=False)
    assert turned_away.headers["Location"] == f"/ui/login?next=%2Fui%2Ftables%2F{table_id}%3Fx%3D1"
    assert exposed.get(wanted).status_code == 401, "a program is told"
    assert exposed.get("/ui/events").status_code == 401
    assert f'value="{wanted}"' in exposed.get(turned_away.headers["Location"]).text
    refused = sign_in(exposed, "opclock_000000000000_" + "A" * 43)
    assert refused.status_code == 401
    assert "no such token" in refused.text
    answer = sign_in(exposed, token(store, Role.READ), next=wanted)
    assert answer.headers["Location"] == wanted
    cookie = answer.headers["Set-Cookie"]
    assert {"HttpOnly", "SameSite=strict"} <= set(cookie.split("; "))
    assert "opclock_" + "A" not in cookie
    assert exposed.get(wanted, headers=HTML).status_code == 200
    assert exposed.get(f"/v1/tables/{table_id}").status_code == 200


@pytest.mark.parametrize("onward", ["https://evil.example/", "//evil.example", "/\\evil.example", "/ui/login?next=/", ""])
def test_the_form_leads_nowhere_else(exposed: TestClient, store: Store, onward: str) -> None:
    assert sign_in(exposed, token(store), next=onward).headers["Location"] == "/"


def test_a_change_needs_session_role_and_what_only_the_page_knows(exposed: TestClient, store: Store, queue: IdleQueue) -> None:
    job_id = job(store)
    cancel = f"/ui/jobs/{job_id}/cancel"
    text = token(store, Role.PROFILE)
    assert exposed.post(cancel).status_code == 401
    assert exposed.post(cancel, headers=bearer(text)).status_code == 401, "programs have DELETE /v1/jobs"
    sign_in(exposed, token(store, Role.READ))
    assert "Cancel" not in exposed.get(f"/ui/jobs/{job_id}").text
    assert exposed.post(cancel, headers=csrf(exposed)).status_code == 403
    sign_in(exposed, text)
    known = csrf(exposed)
    assert "Cancel the job" in exposed.get(f"/ui/jobs/{job_id}").text
    assert exposed.post(cancel).status_code == 403, "the cookie alone"
    assert exposed.post(cancel, headers={"Opclock-Csrf": "guessed"}).status_code == 403
    assert exposed.post(cancel, headers=known | {"Origin": "http://evil.example"}).status_code == 403
    assert exposed.delete(f"/v1/jobs/{job_id}").status_code == 401, "a cookie is no token of the interface"
    assert store.job(job_id).state is JobState.PLANNED
    assert exposed.post(cancel, headers=known).headers["HX-Redirect"] == f"/ui/jobs/{job_id}"
    assert store.job(job_id).state is JobState.CANCELLED
    assert exposed.post("/ui/logout", headers=known).status_code == 204
    assert exposed.get("/ui/compare").status_code == 401


def test_a_job_is_paused_resumed_and_given_another_place(exposed: TestClient, store: Store) -> None:
    job_id = job(store)
    changes = {"pause": JobState.PAUSED, "priority/9": JobState.PAUSED, "resume": JobState.QUEUED}
    sign_in(exposed, token(store, Role.READ))
    for change in changes:
        assert exposed.post(f"/ui/jobs/{job_id}/{change}", headers=csrf(exposed)).status_code == 403
    sign_in(exposed, token(store, Role.PROFILE))
    known = csrf(exposed)
    assert "Pause…" in exposed.get(f"/ui/jobs/{job_id}").text
    for change, state in changes.items():
        path = f"/ui/jobs/{job_id}/{change}"
        assert exposed.post(path).status_code == 403, "the cookie alone"
        assert exposed.post(path, headers=known).headers["HX-Redirect"] == f"/ui/jobs/{job_id}"
        assert store.job(job_id).state is state
    assert store.job(job_id).request.priority == 9
    assert exposed.post(f"/ui/jobs/{job_id}/priority/10", headers=known).status_code == 422
    page = exposed.get(f"/ui/jobs/{job_id}").text
    assert "Priority…" in page
    assert "Resume…" not in page


def test_a_session_ends_with_its_token(exposed: TestClient, store: Store) -> None:
    sign_in(exposed, token(store, Role.READ))
    assert exposed.get("/ui/compare").status_code == 200
    store.revoke_token("read")
    assert exposed.get("/ui/compare").status_code == 401


def test_sessions_end_and_make_room() -> None:
    now = 0.0
    book = SessionBook(clock=lambda: now)
    first = book.begin("0")
    for index in range(LIMIT - 1):
        book.begin(str(index))
    assert book.find(first) is not None
    last = book.begin("last")
    assert book.find(first) is None
    assert book.find(last) is not None
    now = LIFETIME_S
    assert book.find(last) is None


def test_without_tokens_a_service_on_loopback_shows_everything_and_changes_nothing(client: TestClient, store: Store) -> None:
    job_id = job(store)
    page = client.get(f"/ui/jobs/{job_id}").text
    assert "read-only" in page
    assert "Cancel" not in page
    assert client.post(f"/ui/jobs/{job_id}/cancel").status_code == 401
    assert store.job(job_id).state is JobState.PLANNED


def test_failures_can_be_measured_again_alone(exposed: TestClient, store: Store) -> None:
    toy = ToySpace.from_spec(samples.SPACE.model_copy(update={"name": "toy_dag", "parameters": {}}))
    operators = list(toy.operators())
    table = samples.table(0, space=toy.spec, target=BACKEND.target)
    failed = samples.failure(operators[0], Status.RUN_TIMEOUT, "too slow <b>")
    table_id = store.import_table(table.model_copy(update={"entries": (samples.measurement(operators[1]), failed)}))
    ended = store.create_job(JobCreate(space=toy.spec), table_id)
    store.update_job(ended.id, state=JobState.DONE)
    sign_in(exposed, token(store))
    page = exposed.get(f"/ui/jobs/{ended.id}").text
    assert "too slow &lt;b&gt;" in page
    assert "nas-client profile --url http://testserver --space toy_dag --input-size 64x128" in page
    made = exposed.post(f"/ui/jobs/{ended.id}/retry", headers=csrf(exposed)).headers["HX-Redirect"].rpartition("/")[2]
    assert store.job(made).request.workloads == (operators[0],)


def test_odd_entries_are_shown_as_what_they_are(client: TestClient, store: Store) -> None:
    entries = (
        samples.failure(samples.operator(8), message="<script>alert(1)</script>"),
        samples.measurement(samples.operator(16), value_ms=0.0),
        samples.measurement(samples.operator(32), value_ms=1e-300, stderr_ms=1e300),
        samples.measurement(samples.operator(64), value_ms=1e308),
        samples.measurement(samples.operator(96, attributes={}, batch=2)),
    )
    table_id = store.import_table(samples.table(0).model_copy(update={"entries": entries}))
    page = client.get(f"/ui/tables/{table_id}").text
    assert "Unusable" in page or "Noisy" in page
    listed = client.get(f"/ui/parts/tables/{table_id}/entries").text
    assert "crashed" in listed
    assert "batch=2" in listed
    for entry in entries:
        part = client.get(f"/ui/parts/tables/{table_id}/entries/{entry.key()}")
        assert part.status_code == 200
        assert "<script>" not in part.text
    heat = client.get(f"/ui/tables/{table_id}/heat.json").json()
    states = {heat["columns"][column]: (value, state) for column, row, value, state, key, number in heat["cells"]}
    assert states["4→8"] == (None, "crashed")
    assert states["4→16"][0] == 0.0
    for part in ("falls", "costs"):
        assert client.get(f"/ui/parts/tables/{table_id}/{part}").status_code == 200


def test_what_is_not_there_is_told_on_a_page(client: TestClient) -> None:
    for path in ("/ui/tables/nothing", "/ui/jobs/nothing", "/ui/validations/nothing", "/ui/nothing"):
        page = client.get(path, headers=HTML)
        assert page.status_code == 404
        assert "To the overview" in page.text
        assert client.get(path).json()["error"]["code"] == "not_found"


def test_an_empty_table_and_an_empty_database_have_pages(client: TestClient, store: Store) -> None:
    assert "There is no table yet" in client.get("/").text
    table_id = store.ensure_table(samples.info())
    assert "no operators yet" in client.get(f"/ui/tables/{table_id}").text
    assert client.get(f"/ui/tables/{table_id}/heat.json").json()["cells"] == []
    assert "No operator in common" in client.get(f"/ui/compare?a={table_id}&b={table_id}").text


@pytest.mark.parametrize("form", ["csv", "json", "parquet", "arrow", "npy"])
def test_a_table_comes_in_every_format(client: TestClient, store: Store, form: str) -> None:
    from models.spec.table_files import TableFormat, from_bytes

    table_id = store.import_table(samples.table())
    answer = client.get(f"/ui/tables/{table_id}/download/{form}")
    assert answer.headers["Content-Disposition"] == f'attachment; filename="{table_id}.{form}"'
    assert from_bytes(answer.content, TableFormat(form)).entries == store.table(table_id).entries
    assert client.get(f"/ui/tables/{table_id}/download/exe").status_code == 404


def test_only_so_many_validations_are_kept(client: TestClient, store: Store) -> None:
    table_id = store.import_table(samples.table())
    body = ValidationCreate(summary={"named": []}, points=(point(),)).model_dump(mode="json")
    for _ in range(52):
        assert client.post(f"/v1/tables/{table_id}/validations", json=body).status_code == 201
    assert len(client.get(f"/v1/tables/{table_id}/validations").json()) == 50
    body["summary"] = {"named": "x" * 300_000}
    assert client.post(f"/v1/tables/{table_id}/validations", json=body).status_code in (413, 422)


def test_operators_are_named_without_their_sizes() -> None:
    """Joins too, else each would have a line of its own in the heat map."""
    path = ROOT / "lut_data/intel-xeon-processor/onnxruntime/fasterseg-256x512-fp32.parquet"
    view = TableView.of("tag", TableColumns.from_bytes(path.read_bytes(), TableFormat.PARQUET))
    assert {"concat", "conv3x3", "skip"} <= set(view.names)
    assert not [name for name in view.names if re.search("[@→/]", name)]
