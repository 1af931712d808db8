"""The schema, from the first one on: a new database has it, and old files reach it with everything in them."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from models.spec.base import digest
from models.spec.flat_architectures import FlatArchitecture
from models.spec.graphs import GraphRequest
from models.spec.measurements import Budget, Flag
from models.spec.operators import OperatorSpec
from models.spec.scale import Scale
from models.spec.table_files.table_io import record_text, text_digest
from models.spec.wire import JobCounts, JobCreate, JobState
from profiler_service.measure.visits import DeviceState, HostState, Visit
from profiler_service.storage.job_rows import Owner
from profiler_service.storage.schema import Base
from profiler_service.storage.sqlite_database import sqlite_engine
from profiler_service.storage.store import Store
from profiler_service.storage.upgrade import alembic_config, upgrade
from profiler_service.tokens import Role, StoredToken, Token
from tests.fault.checker import violations
from tests.support import table_samples as samples
from tests.support.repository import ROOT

OLD_DATABASES = ROOT / "tests" / "data"

TABLE = samples.table(scale=Scale(reference_ms=0.3))
NETWORK = samples.measurement(samples.architecture())
VISIT = Visit(
    graph_key="0123456789abcdef",
    round=1,
    visit=2,
    samples_ms=(0.5, 0.25),
    sentinel_ms=0.3,
    passes=2,
    accepted=True,
    started_at=samples.A_TIME,
)
VISIT_ON_A_DEVICE = VISIT.model_copy(
    update={
        "graph_key": "fedcba9876543210",
        "passes": 3,
        "device": DeviceState(clock_before_mhz=1980, clock_after_mhz=1500, power_w=310.5, set_aside=1, reasons=("thermal",)),
    }
)
VISIT_BESIDE_OTHERS = VISIT.model_copy(
    update={"graph_key": "0" * 16, "host": HostState(load=1.5, cores=2, others_busy=0.9, stolen=0.0, throttled=0)}
)
TOKEN = StoredToken(
    Token(id="0123456789ab", name="ci", role=Role.PROFILE, created_at=samples.A_TIME, expires_at=samples.A_TIME),
    digest="0" * 64,
)
REQUEST = JobCreate(space=samples.SPACE, workloads=(samples.operator(), samples.architecture()), budget=Budget.THOROUGH)
COUNTS = JobCounts(total=6, reused=1, measured=3, failed=2)


def write_example(path: Path) -> None:
    """Write what the databases in tests/data hold: run by hand with each release that has a new schema."""
    with Store.open(path) as store:
        table_id = store.import_table(TABLE)
        store.save_measurement(table_id, NETWORK)
        store.save_visits(table_id, [VISIT, VISIT_ON_A_DEVICE, VISIT_BESIDE_OTHERS])
        job = store.create_job(REQUEST, table_id, idempotency_key="first", box="box")
        store.update_job(job.id, state=JobState.FAILED, counts=COUNTS, phase="round 2", fraction=0.5, message="why")
        store.create_job(REQUEST, table_id, box="box")
        store.add_token(TOKEN)


def check_example(store: Store) -> None:
    """What `write_example` wrote is all there."""
    (listed,) = store.tables()
    table = store.table(listed.id)
    assert table.entries == TABLE.entries
    assert table.info.model_copy(update={"scale": TABLE.info.scale}) == TABLE.info
    assert table.info.scale is not None
    assert table.info.scale.reference_ms == 0.3
    assert store.measurements(listed.id, [NETWORK.key()]) == {NETWORK.key(): NETWORK}
    assert store.visits(listed.id, [VISIT.graph_key]) == [VISIT]
    waiting, failed = store.jobs()
    assert (failed.request, failed.table_id, failed.state, failed.counts) == (REQUEST, listed.id, JobState.FAILED, COUNTS)
    assert (failed.phase, failed.fraction, failed.message) == ("round 2", 0.5, "why")
    assert failed.started_at is None
    assert failed.finished_at is not None
    assert store.unfinished_jobs() == [waiting]
    assert store.create_job(REQUEST, listed.id, idempotency_key="first") == failed


def test_the_migrations_lead_to_the_schema_in_the_code(tmp_path: Path) -> None:
    upgrade(tmp_path / "new.sqlite")
    engine = sqlite_engine(tmp_path / "new.sqlite", {})
    with closing(engine.connect()) as connection:
        differences = compare_metadata(MigrationContext.configure(connection, opts={"compare_type": True}), Base.metadata)
    engine.dispose()
    assert differences == []


def test_the_migrations_are_one_chain_with_readable_names() -> None:
    scripts = list(ScriptDirectory.from_config(alembic_config()).walk_revisions())
    assert [script.revision for script in reversed(scripts)] == [f"{1 + index:04}" for index in range(len(scripts))]


def test_every_schema_has_its_database_in_the_tests() -> None:
    scripts = ScriptDirectory.from_config(alembic_config()).walk_revisions()
    expected = {f"database_{script.revision}.sqlite" for script in scripts}
    assert {path.name for path in OLD_DATABASES.glob("*.sqlite")} == expected


def test_a_job_that_was_running_is_planned_anew(tmp_path: Path) -> None:
    path = tmp_path / "old.sqlite"
    shutil.copy(OLD_DATABASES / "database_0004.sqlite", path)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE jobs SET state = 'running' WHERE state = 'queued'")
    with Store.open(path) as store:
        (job,) = store.unfinished_jobs()
        assert (job.state, job.attempt, job.request) == (JobState.PLANNED, 0, REQUEST)


@pytest.mark.parametrize("name", sorted(path.name for path in OLD_DATABASES.glob("*.sqlite")))
def test_an_old_database_reaches_the_present_with_everything_in_it(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    shutil.copy(OLD_DATABASES / name, path)
    for _ in range(2):  # the second time nothing is left to do
        with Store.open(path, create=False) as store:
            check_example(store)
    assert violations(path, []) == []


def test_a_database_is_copied_before_it_is_migrated(tmp_path: Path) -> None:
    path = tmp_path / "opclock.sqlite"
    shutil.copy(OLD_DATABASES / "database_0001.sqlite", path)
    before = dump(path)
    for _ in range(2):  # the second time there is nothing to migrate
        with Store.open(path):
            pass
    (copy,) = tmp_path.glob("*.before-*")
    assert dump(copy) == before


def dump(path: Path) -> list[str]:
    """Everything in a database, as SQL."""
    with closing(sqlite3.connect(path)) as connection:
        return list(connection.iterdump())


def test_visits_tell_the_state_of_their_device_since_0002(tmp_path: Path) -> None:
    for name, expected in {"database_0001.sqlite": [], "database_0002.sqlite": [VISIT_ON_A_DEVICE]}.items():
        shutil.copy(OLD_DATABASES / name, tmp_path / name)
        with Store.open(tmp_path / name, create=False) as store:
            (listed,) = store.tables()
            assert store.visits(listed.id, [VISIT_ON_A_DEVICE.graph_key]) == expected


def test_visits_tell_what_else_the_host_did_since_0003(tmp_path: Path) -> None:
    for name, expected in {"database_0002.sqlite": [], "database_0003.sqlite": [VISIT_BESIDE_OTHERS]}.items():
        shutil.copy(OLD_DATABASES / name, tmp_path / name)
        with Store.open(tmp_path / name, create=False) as store:
            (listed,) = store.tables()
            assert store.visits(listed.id, [VISIT_BESIDE_OTHERS.graph_key]) == expected


def test_tokens_are_there_since_0004(tmp_path: Path) -> None:
    for name, expected in {"database_0003.sqlite": [], "database_0004.sqlite": [TOKEN]}.items():
        shutil.copy(OLD_DATABASES / name, tmp_path / name)
        with Store.open(tmp_path / name, create=False) as store:
            assert store.tokens() == expected


def test_jobs_belong_to_a_box_since_0008(tmp_path: Path) -> None:
    for name, expected in {"database_0007.sqlite": False, "database_0008.sqlite": True}.items():
        shutil.copy(OLD_DATABASES / name, tmp_path / name)
        with Store.open(tmp_path / name, create=False) as store:
            assert {store.job_belongs(job.id, Owner("of no table", "box")) for job in store.jobs()} == {expected}


def test_what_names_contents_is_made_of_a_few_records_at_a_time_in_0008(tmp_path: Path) -> None:
    path = tmp_path / "new.sqlite"
    write_example(path)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE measurements SET digest = 'stale'")
        connection.execute("DELETE FROM contents")
    module: Any = ScriptDirectory.from_config(alembic_config()).get_revision("0008").module
    module._AT_ONCE = 2
    engine = sqlite_engine(path, {})
    with engine.connect() as connection, connection.begin():
        sizes = [len(rows) for rows in module._chunks(connection, samples.info().id())]
        module._name_contents(connection)
    engine.dispose()
    assert len(sizes) > 1
    assert max(sizes) == 2
    assert sum(sizes) == len(TABLE.entries) + 1
    assert violations(path, []) == []


def test_tables_that_a_busy_machine_scaled_are_healed_by_their_visits(tmp_path: Path) -> None:
    """Before 0003 a table kept the reference of its first job: here 0.4625 ms, where quiet visits say 0.333."""
    path = tmp_path / "busy.sqlite"
    operators = [samples.operator(channels) for channels in (8, 16)]
    _write_at_0002(path, reference_ms=0.4625, values_ms=dict(zip(operators, (1.0, 2.0), strict=True)))
    with Store.open(path, create=False) as store:
        (listed,) = store.tables()
        table = store.table(listed.id)
    assert table.info.scale is not None
    assert table.info.scale.reference_ms == pytest.approx(0.333)
    assert table.info.scale.settled
    found = table.by_key
    assert [found[operator.key()].value_ms for operator in operators] == pytest.approx([0.72, 1.44])
    busy, quiet = (found[operator.key()] for operator in operators)
    assert Flag.CONTAMINATED in busy.flags  # the first was visited in the slow phase alone
    assert Flag.CONTAMINATED not in quiet.flags


def _write_at_0002(path: Path, *, reference_ms: float, values_ms: dict[OperatorSpec, float]) -> None:
    """A database of the schema before. Its first entry was visited while the machine was busy, the second when it was not."""
    engine = sqlite_engine(path, {"foreign_keys": "OFF"})
    info = samples.info()
    with engine.connect() as connection, connection.begin():
        command.upgrade(alembic_config(connection), "0002")
        insert = "INSERT INTO tables (id, info, sentinel_reference_ms) VALUES (?, ?, ?)"
        connection.exec_driver_sql(insert, (info.id(), record_text(info), reference_ms))
        for (operator, value_ms), sentinel_ms in zip(values_ms.items(), (0.4625, 0.333), strict=True):
            record = record_text(samples.measurement(operator, value_ms))
            insert = (
                "INSERT INTO measurements (table_id, key, is_operator, status, record, digest) VALUES (?, ?, 1, 'ok', ?, ?)"
            )
            connection.exec_driver_sql(insert, (info.id(), operator.key(), record, text_digest(record)))
            graph_key = GraphRequest(subject=operator, in_context=True).key()
            for number in range(8 if sentinel_ms < 0.4 else 4):
                columns = "table_id, graph_key, round, visit, samples, sentinel_ms, passes, accepted, started_at"
                values = f"?, ?, ?, 0, x'', ?, 12, 1, '2024-05-17 09:{number:02}:00.000000'"
                insert = f"INSERT INTO visits ({columns}) VALUES ({values})"
                round_number = number if sentinel_ms > 0.4 else 10 + number
                connection.exec_driver_sql(insert, (info.id(), graph_key, round_number, sentinel_ms))
    engine.dispose()


def test_the_example_is_what_this_release_writes(tmp_path: Path) -> None:
    write_example(tmp_path / "new.sqlite")
    with Store.open(tmp_path / "new.sqlite") as store:
        check_example(store)


@pytest.mark.parametrize(("stored", "expected"), [("true", "always"), ("false", "never"), ("null", "auto")])
def test_requests_of_earlier_databases_say_whether_to_rebuild(stored: str, expected: str) -> None:
    text = REQUEST.model_dump_json().replace('"rebuild":"auto"', f'"rebuild":{stored}')
    assert JobCreate.parse_json(text, source="job").rebuild == expected


def test_networks_have_the_keys_of_their_genotypes_since_0005(tmp_path: Path) -> None:
    """What names a network by its key of before is renamed: its measurement, its visits, and a check that compared it."""
    path = tmp_path / "networks.sqlite"
    shutil.copy(OLD_DATABASES / "database_0004.sqlite", path)
    document = {"space": "toy", "input_size": [64, 128], "branches": [{"operators": ["conv3x3"]}]}
    old = FlatArchitecture.parse(document).key()
    times = {"plain_ms": 1.0, "scaled_ms": 1.0}
    check = {"at": "2024-05-17T09:30:15Z", "outcome": "agrees", "workloads": [{"key": old, "label": "l", **times}]}
    with closing(sqlite3.connect(path)) as connection, connection:
        (stored,) = connection.execute("SELECT key FROM measurements WHERE NOT is_operator").fetchone()
        assert stored == old
        graph = digest("graph", [False, old])
        connection.execute("UPDATE visits SET graph_key = ? WHERE graph_key = ?", (graph, VISIT.graph_key))
        connection.execute("UPDATE tables SET plain_check = ?", (json.dumps(check),))
    with Store.open(path, create=False) as store:
        (listed,) = store.tables()
        assert store.measurements(listed.id, [old]) == {}
        assert store.measurements(listed.id, [NETWORK.key()]) == {NETWORK.key(): NETWORK}
        graph = GraphRequest(subject=NETWORK.workload).key()
        assert [visit.samples_ms for visit in store.visits(listed.id, [graph])] == [VISIT.samples_ms]
    with closing(sqlite3.connect(path)) as connection:
        (text,) = connection.execute("SELECT plain_check FROM tables").fetchone()
    assert json.loads(text)["workloads"] == [{"key": NETWORK.key(), "label": NETWORK.workload.label(), **times}]
