"""What the rest of the service relies on a store to do."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from functools import partial
from itertools import count
from pathlib import Path

import pytest

from models.spec.errors import InvalidSpecError, TableMismatchError
from models.spec.measurements import Budget, Flag, Measurement, ProtocolName, Status
from models.spec.rebuilds import RebuildSpread, RebuiltEntry
from models.spec.scale import CheckOutcome, Scale, ScaleCheck
from models.spec.tables import Table
from models.spec.wire import JobCounts, JobCreate, JobPublic, JobState
from profiler_service.errors import (
    JobConflictError,
    JobNotFoundError,
    StaleAttemptError,
    TableNotFoundError,
    TokenConflictError,
    TokenNotFoundError,
)
from profiler_service.measure.visits import HostState, Visit
from profiler_service.storage.job_rows import Owner
from profiler_service.storage.location import Location
from profiler_service.storage.store import Store
from profiler_service.tokens import Role, make_token
from tests.support import table_samples as samples
from tests.support.postgres import Server


@pytest.fixture(params=["sqlite", "postgresql"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> Location:
    """An empty database of each kind."""
    if request.param == "sqlite":
        return tmp_path / "opclock.sqlite"
    server: Server = request.getfixturevalue("postgres")
    return server.emptied_database()


@pytest.fixture
def store(location: Location) -> Iterator[Store]:
    with Store.open(location) as opened:
        yield opened


@pytest.fixture
def table_id(store: Store) -> str:
    return store.ensure_table(samples.info())


def visit(**changes: object) -> Visit:
    fields: dict[str, object] = {
        "graph_key": "a" * 16,
        "round": 0,
        "visit": 0,
        "samples_ms": (0.5, 0.25, 0.75),
        "sentinel_ms": 0.1,
        "passes": 3,
        "accepted": True,
        "started_at": samples.A_TIME,
    }
    return Visit.model_validate(fields | changes)


def rebuilt(key: str, within_ms: float = 0.1) -> RebuildSpread:
    """What a job told of one operator's builds."""
    entry = RebuiltEntry(key=key, label=key, value_ms=1.0, between_ms=0.2, within_ms=within_ms)
    return RebuildSpread(builds=3, rounds=4, entries=(entry,), failures=(), measured_at=samples.A_TIME)


def other_table(store: Store) -> str:
    return store.ensure_table(samples.info(protocol=ProtocolName.ISOLATED))


class TestTables:
    def test_the_same_identity_is_the_same_table_and_keeps_its_first_provenance(self, store: Store) -> None:
        first = store.ensure_table(samples.info())
        again = store.ensure_table(samples.info(provenance={"host": "another"}, created_at=None))
        other = store.ensure_table(samples.info(protocol=ProtocolName.ISOLATED))
        assert first == again == samples.info().id() != other
        assert store.table_info(first) == samples.info()

    def test_the_settings_of_a_target_that_was_stored_without_them_are_filled_in(self, store: Store) -> None:
        table_id = store.ensure_table(samples.info())
        settings = {"OPCLOCK_DEVICE": "cuda"}
        told = samples.info(target=samples.TARGET.model_copy(update={"settings": settings}))
        assert store.ensure_table(told) == table_id
        assert store.table_info(table_id) == told
        store.ensure_table(samples.info())
        assert store.table_info(table_id).target.settings == settings

    def test_every_version_of_a_plugin_that_a_table_was_measured_with_is_kept(self, store: Store) -> None:
        for version in ("1.0", "1.1", "1.0"):
            table_id = store.ensure_table(samples.info(provenance={"host": "another", "plugin toy": version}))
        assert store.table_info(table_id).provenance["plugin toy"] == "1.0, 1.1"

    def test_a_new_table_gets_the_time(self, store: Store) -> None:
        created_at = store.table_info(store.ensure_table(samples.info(created_at=None))).created_at
        assert created_at is not None
        assert timedelta() <= datetime.now(UTC) - created_at < timedelta(hours=1)

    def test_a_scale_belongs_to_the_target_and_takes_its_tables_along(self, store: Store, table_id: str) -> None:
        other = store.ensure_table(samples.info(space=samples.SPACE.model_copy(update={"classes": 7})))
        isolated = store.ensure_table(samples.info(protocol=ProtocolName.ISOLATED))
        elsewhere = store.ensure_table(samples.info(target=samples.TARGET.model_copy(update={"threads": 2})))
        assert store.table_info(table_id).scale is None
        store.set_scale(table_id, Scale(reference_ms=0.4, unsettled="busy"))
        entry = samples.measurement(value_ms=2.0, stderr_ms=0.1, plain_ms=3.0, sentinel_ratio=1.5, cv=0.25)
        for each in (table_id, other, isolated, elsewhere):
            store.save_measurement(each, entry)
        tag = store.table_summary(other).etag
        scale = Scale(reference_ms=0.3)
        store.set_scale(table_id, scale)
        for each in (table_id, other):
            (found,) = store.table(each).entries
            assert (found.value_ms, found.stderr_ms) == pytest.approx((1.5, 0.075))
            assert (found.plain_ms, found.cv) == (3.0, 0.25)
            assert found.sentinel_ratio == pytest.approx(2.0)
            assert store.table_info(each).scale == scale
        for each in (isolated, elsewhere):
            assert store.table(each).entries == (entry,)
            assert store.table_info(each).scale is None
        assert store.table_summary(other).etag not in {tag, store.table_summary(table_id).etag}
        assert store.table_etag(other) == store.table_summary(other).etag

    def test_a_measurement_made_at_an_earlier_scale_is_brought_to_the_present_one(self, store: Store, table_id: str) -> None:
        store.set_scale(table_id, Scale(reference_ms=0.3))
        store.save_measurement(table_id, samples.measurement(value_ms=2.0), reference_ms=0.4)
        assert store.table(table_id).entries[0].value_ms == pytest.approx(1.5)

    def test_learns_a_scale_from_the_visits_of_all_tables(self, store: Store, table_id: str) -> None:
        other = store.ensure_table(samples.info(space=samples.SPACE.model_copy(update={"classes": 7})))
        assert store.learn_scale(table_id) is None
        host = HostState(load=0.1, cores=2, others_busy=0.0)
        for number in range(10):
            busy, quiet = visit(round=number, sentinel_ms=0.5), visit(round=number, sentinel_ms=0.3, host=host)
            store.save_visits(table_id, [busy, busy.model_copy(update={"graph_key": "b"})])
            store.save_visits(other, [quiet])
        scale = store.learn_scale(table_id)
        assert scale is not None
        assert (scale.reference_ms, scale.visits, scale.quiet, scale.settled) == (0.3, 20, 10, True)
        assert store.table_info(other).scale == scale

    def test_a_check_is_kept_with_its_table(self, store: Store, table_id: str) -> None:
        check = ScaleCheck(at=samples.A_TIME, outcome=CheckOutcome.DISAGREES, ratio=0.7, message="no")
        tag = store.table_summary(table_id).etag
        store.set_check(table_id, check)
        assert store.table_info(table_id).check == check
        assert store.table_summary(table_id).etag != tag
        assert store.ensure_table(samples.info()) == table_id
        assert store.table_info(table_id).check == check

    def test_a_check_that_says_nothing_takes_back_nothing(self, store: Store, table_id: str) -> None:
        disagrees, silent, agrees = (
            ScaleCheck(at=samples.A_TIME, outcome=outcome)
            for outcome in (CheckOutcome.DISAGREES, CheckOutcome.NOT_QUIET, CheckOutcome.AGREES)
        )
        for check, kept in ((silent, silent), (disagrees, disagrees), (silent, disagrees), (agrees, agrees), (silent, silent)):
            store.set_check(table_id, check)
            assert store.table_info(table_id).check == kept

    def test_what_is_told_of_builds_stands_beside_what_is_known_of_others(self, store: Store, table_id: str) -> None:
        assert store.table_info(table_id).rebuild_spread is None
        tag = store.table_summary(table_id).etag
        store.add_rebuild_spread(table_id, rebuilt("a"))
        assert store.table_info(table_id).rebuild_spread == rebuilt("a")
        store.add_rebuild_spread(table_id, rebuilt("b"))
        store.add_rebuild_spread(table_id, rebuilt("a", within_ms=0.5))
        found = store.table_info(table_id).rebuild_spread
        assert found is not None
        assert [(entry.key, entry.within_ms) for entry in found.entries] == [("a", 0.5), ("b", 0.1)]
        assert store.table_summary(table_id).etag != tag
        assert store.table(table_id).info == store.table_info(table_id)

    def test_listed_oldest_first_with_counts_and_tags_of_operators_alone(self, store: Store, table_id: str) -> None:
        older = store.ensure_table(samples.info(protocol_version=2, created_at=samples.A_TIME - timedelta(days=1)))
        for each in (samples.measurement(), samples.failure(samples.operator(9)), samples.measurement(samples.architecture())):
            store.save_measurement(table_id, each)
        listed = store.tables()
        assert [(each.id, each.entries, each.failed) for each in listed] == [(older, 0, 0), (table_id, 2, 1)]
        assert [each.etag for each in listed] == [store.table_columns(each.id)[0] for each in listed]
        assert store.table_summary(table_id) == listed[1]

    def test_a_table_holds_operators_alone(self, store: Store, table_id: str) -> None:
        network = samples.measurement(samples.architecture())
        store.save_measurement(table_id, samples.measurement())
        store.save_measurement(table_id, network)
        assert store.table(table_id) == Table(info=samples.info(), entries=(samples.measurement(),))
        assert store.measurements(table_id, [network.key()]) == {network.key(): network}

    def test_the_tag_changes_with_the_contents_alone(self, store: Store, table_id: str) -> None:
        def tag() -> str:
            return store.table_summary(table_id).etag

        empty = tag()
        store.save_measurement(table_id, samples.measurement())
        filled = tag()
        store.save_measurement(table_id, samples.measurement())
        assert tag() == filled != empty
        store.set_scale(table_id, Scale(reference_ms=0.5))
        referenced = tag()
        store.save_measurement(table_id, samples.measurement(value_ms=0.5))
        assert len({empty, filled, referenced, tag()}) == 4

    def test_the_tag_tells_contents_however_they_came_about(self, store: Store, table_id: str) -> None:
        """It is kept as entries change, and never made from all of them; the digests of all of them have to agree."""
        network = samples.measurement(samples.architecture())
        one, other = samples.measurement(value_ms=0.5), samples.measurement(samples.operator(9), 0.25)
        seen: dict[str, tuple[Measurement, ...]] = {}
        store.set_scale(table_id, Scale(reference_ms=0.5))
        for each in (one, network, other, samples.failure(samples.operator(17)), samples.measurement(value_ms=0.75), one):
            store.save_measurement(table_id, each)
            entries = store.table(table_id).entries
            assert seen.setdefault(store.table_etag(table_id), entries) == entries
        assert len(seen) == 4, "a network is no entry of the table, and the last one leaves what was there before"
        elsewhere = store.import_table(store.table(table_id).model_copy(update={"info": samples.info(protocol_version=2)}))
        before = store.table_etag(elsewhere)
        store.set_scale(table_id, Scale(reference_ms=0.25))
        assert store.table_etag(elsewhere) != before
        store.set_scale(table_id, Scale(reference_ms=0.5))
        assert store.table_etag(elsewhere) == before, "halving and doubling is exact"

    def test_tags_are_mended_that_an_earlier_release_left_behind(
        self, store: Store, table_id: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Its processes, which know of no tags, may write after the database has been migrated."""
        other = store.ensure_table(samples.info(protocol_version=2))
        store.save_measurement(other, samples.measurement(samples.architecture()))
        tags = []
        for value_ms in (0.5, 0.75):
            store.save_measurement(table_id, samples.measurement(value_ms=value_ms))
            tags.append(store.table_etag(table_id))
        with monkeypatch.context() as earlier:
            earlier.setattr("profiler_service.storage.contents.change", lambda *_, **__: None)
            store.save_measurement(table_id, samples.measurement(value_ms=0.5))
        elsewhere = store.table_etag(other)
        store.mend_etags(other)
        assert store.table_etag(table_id) == tags[1], "only the other one was looked at"
        store.mend_etags()
        assert (store.table_etag(table_id), store.table_etag(other)) == (tags[0], elsewhere)
        store.save_measurement(table_id, samples.measurement(value_ms=0.75))
        assert store.table_etag(table_id) == tags[1]

    def test_unknown_tables(self, store: Store) -> None:
        for call in (
            lambda: store.table("nonesuch"),
            lambda: store.table_info("nonesuch"),
            lambda: store.table_summary("nonesuch"),
            lambda: store.measurements("nonesuch", ["a"]),
            lambda: store.save_measurement("nonesuch", samples.measurement()),
            lambda: store.forget_visits("nonesuch", ["a"], before=samples.A_TIME),
            lambda: store.count_visits("nonesuch", since=samples.A_TIME),
            lambda: store.next_round("nonesuch"),
            lambda: store.save_visits("nonesuch", [visit()]),
            lambda: store.visits("nonesuch", ["a"]),
            lambda: store.learn_scale("nonesuch"),
            lambda: store.set_scale("nonesuch", Scale(reference_ms=1.0)),
            lambda: store.set_check("nonesuch", ScaleCheck(at=samples.A_TIME, outcome=CheckOutcome.AGREES)),
            lambda: store.measured_keys("nonesuch"),
            lambda: store.visited_graphs("nonesuch"),
            lambda: store.add_rebuild_spread("nonesuch", rebuilt("a")),
            lambda: store.create_job(JobCreate(space=samples.SPACE), "nonesuch"),
        ):
            with pytest.raises(TableNotFoundError, match="'nonesuch'") as caught:
                call()
            assert caught.value.hint


class TestMeasurements:
    def test_kept_bit_for_bit(self, store: Store, table_id: str) -> None:
        saved = [
            samples.measurement(value_ms=1 / 3, plain_ms=-0.0, stderr_ms=5e-324, flags=(Flag.CONTAMINATED, Flag.THROTTLED)),
            samples.failure(samples.operator(9), Status.OUT_OF_MEMORY, 'said "no",\n\tand 再见'),
        ]
        for each in saved:
            store.save_measurement(table_id, each)
        found = store.measurements(table_id, [each.key() for each in saved])
        assert [repr(found[each.key()]) for each in saved] == [repr(each) for each in saved]

    def test_only_those_asked_for_and_there(self, store: Store, table_id: str) -> None:
        here, elsewhere = samples.measurement(), samples.measurement(samples.operator(9))
        store.save_measurement(table_id, here)
        store.save_measurement(table_id, elsewhere)
        other_table = store.ensure_table(samples.info(protocol=ProtocolName.ISOLATED))
        assert store.measurements(table_id, [here.key(), "0" * 16]) == {here.key(): here}
        assert store.measurements(table_id, []) == {}
        assert store.measurements(other_table, [here.key()]) == {}

    def test_keys_by_their_beginning(self, store: Store, table_id: str) -> None:
        saved = [samples.measurement(samples.operator(9)), samples.failure(), samples.measurement(samples.architecture())]
        for each in saved:
            store.save_measurement(table_id, each)
        keys = sorted(each.key() for each in saved)
        assert store.measured_keys(table_id) == keys
        assert store.measured_keys(table_id, keys[0]) == keys[:1]
        assert store.measured_keys(table_id, "%") == []

    def test_more_keys_than_a_statement_may_have_parameters(self, store: Store, table_id: str) -> None:
        store.save_measurement(table_id, samples.measurement())
        keys = [*map(str, range(100_000)), samples.measurement().key()]
        assert len(store.measurements(table_id, keys)) == 1

    def test_a_later_one_takes_the_place(self, store: Store, table_id: str) -> None:
        failures = samples.failure(), samples.failure(message="again")
        for each in (*failures, samples.measurement(value_ms=0.5), samples.measurement(value_ms=0.75)):
            assert store.save_measurement(table_id, each)
            assert store.table(table_id).entries == (each,)

    def test_a_failure_takes_no_values_place(self, store: Store, table_id: str) -> None:
        store.save_measurement(table_id, good := samples.measurement())
        before = store.table_summary(table_id)
        assert not store.save_measurement(table_id, samples.failure())
        assert store.table(table_id).entries == (good,)
        assert store.table_summary(table_id) == before

    def test_the_zone_of_an_instant_does_not_matter(self, store: Store, table_id: str) -> None:
        there = samples.A_TIME.astimezone(timezone(timedelta(hours=9)))
        store.save_measurement(table_id, samples.measurement(measured_at=there))
        (entry,) = store.table(table_id).entries
        assert entry.measured_at == samples.A_TIME
        assert entry.measured_at.tzinfo is UTC


class TestVisits:
    def test_forget_those_of_some_graphs_before_an_instant(self, store: Store, table_id: str) -> None:
        later = samples.A_TIME + timedelta(microseconds=1)
        old, new = visit(graph_key="a", started_at=samples.A_TIME), visit(graph_key="a", round=9, started_at=later)
        other = visit(graph_key="b", started_at=samples.A_TIME)
        store.save_measurement(table_id, samples.measurement())
        store.save_visits(table_id, [old, new, other])
        store.forget_visits(table_id, iter(["a", "unknown"]), before=later)
        assert store.visits(table_id, "ab") == [new, other]
        assert store.table(table_id).entries == (samples.measurement(),)

    def test_count_those_since_an_instant(self, store: Store, table_id: str) -> None:
        later = samples.A_TIME + timedelta(microseconds=1)
        store.save_visits(table_id, [visit(graph_key="a", started_at=samples.A_TIME), visit(graph_key="b", started_at=later)])
        store.save_visits(other_table(store), [visit(graph_key="a", started_at=later)])
        assert [store.count_visits(table_id, since=since) for since in (samples.A_TIME, later)] == [2, 1]

    def test_the_next_round_is_one_in_which_no_graph_was_visited(self, store: Store, table_id: str) -> None:
        store.save_visits(other_table(store), [visit(graph_key="a", round=9)])
        assert store.next_round(table_id) == 0
        store.save_visits(table_id, [visit(graph_key="a", round=4), visit(graph_key="b", round=2)])
        assert store.next_round(table_id) == 5

    def test_kept_in_single_precision_and_in_order(self, store: Store, table_id: str) -> None:
        visits = [visit(graph_key=key, round=number, visit=group) for key in "ab" for number in (0, 1) for group in (0, 1)]
        store.save_visits(table_id, visits[::-1])
        assert store.visits(table_id, "ba") == visits
        store.save_visits(table_id, [visit(graph_key="c", samples_ms=(1 / 3, 1e-4))])
        (found,) = store.visits(table_id, ["c"])
        assert found.samples_ms == pytest.approx((1 / 3, 1e-4), rel=1e-7)

    def test_graphs_that_were_visited(self, store: Store, table_id: str) -> None:
        store.save_visits(table_id, [visit(graph_key=key, round=number) for key in "ba" for number in (0, 1)])
        store.save_visits(other_table(store), [visit(graph_key="c")])
        assert store.visited_graphs(table_id) == ["a", "b"]

    def test_a_repeated_visit_takes_the_place(self, store: Store, table_id: str) -> None:
        store.save_visits(table_id, [visit(accepted=False), visit(round=1)])
        again = visit(samples_ms=(0.5,), sentinel_ms=0.2, passes=1, started_at=samples.A_TIME + timedelta(hours=1))
        store.save_visits(table_id, [again])
        assert store.visits(table_id, [again.graph_key]) == [again, visit(round=1)]

    def test_none(self, store: Store, table_id: str) -> None:
        store.save_visits(table_id, [])
        store.save_visits(table_id, [visit(samples_ms=())])
        assert store.visits(table_id, [visit().graph_key]) == [visit(samples_ms=())]
        assert store.visits(table_id, []) == []


def begun(store: Store, job_id: str, **changes: object) -> JobPublic:
    """The job, taken up, and building."""
    store.update_job(job_id, state=JobState.PLANNED)
    return store.update_job(job_id, state=JobState.BUILDING, **changes)


class TestJobs:
    request = JobCreate(space=samples.SPACE, workloads=(samples.operator(), samples.architecture()), budget=Budget.QUICK)

    def test_a_new_job(self, store: Store, table_id: str) -> None:
        job = store.create_job(self.request, table_id)
        assert (job.state, job.table_id, job.request, job.counts) == (
            JobState.QUEUED,
            table_id,
            self.request,
            JobCounts(total=0),
        )
        assert job.created_at.tzinfo is UTC
        assert job.started_at is job.finished_at is None
        assert store.job(job.id) == job

    def test_an_idempotency_key_names_one_job(self, store: Store, table_id: str) -> None:
        first = store.create_job(self.request, table_id, idempotency_key="k")
        assert store.create_job(self.request, table_id, idempotency_key="k") == first
        others = [store.create_job(self.request, table_id, idempotency_key=key) for key in ("l", None, None)]
        assert len({first.id, *(job.id for job in others)}) == 4

    def test_an_idempotency_key_answers_with_the_job_as_it_stands(self, store: Store, table_id: str) -> None:
        first = store.create_job(self.request, table_id, idempotency_key="k")
        done = store.update_job(first.id, state=JobState.DONE)
        assert store.create_job(self.request, table_id, idempotency_key="k") == done

    def test_an_idempotency_key_outlives_a_change_of_priority(self, store: Store, table_id: str) -> None:
        """What is sent again after a lost answer finds its job, whose priority somebody has changed meanwhile."""
        first = store.create_job(self.request, table_id, idempotency_key="k")
        raised = store.set_priority(first.id, 7)
        assert store.create_job(self.request, table_id, idempotency_key="k") == raised

    def test_an_idempotency_key_of_another_request(self, store: Store, table_id: str) -> None:
        first = store.create_job(self.request, table_id, idempotency_key="k")
        for changes in ({"budget": Budget.NORMAL}, {"workloads": None}, {"remeasure": True}):
            with pytest.raises(JobConflictError, match=first.id):
                store.create_job(self.request.model_copy(update=changes), table_id, idempotency_key="k")
        assert store.jobs() == [first]

    def test_a_table_is_made_together_with_its_job(self, store: Store) -> None:
        job = store.create_job(self.request, samples.info(), idempotency_key="k")
        assert job.table_id == samples.info().id()
        assert store.create_job(self.request, samples.info(), idempotency_key="k") == job
        assert [table.id for table in store.tables()] == [job.table_id]

    def test_without_a_job_no_table_is_made(self, store: Store, table_id: str) -> None:
        other = samples.info(protocol=ProtocolName.ISOLATED)

        def refuse() -> None:
            raise JobConflictError("no room")

        with pytest.raises(JobConflictError, match="no room"):
            store.create_job(self.request, other, before_adding=refuse)
        store.create_job(self.request, table_id, idempotency_key="k")
        with pytest.raises(JobConflictError, match="was used for another request"):
            store.create_job(self.request, other, idempotency_key="k")
        assert [table.id for table in store.tables()] == [table_id]

    def test_the_same_key_at_the_same_time(self, store: Store, table_id: str) -> None:
        made: list[str] = []
        threads = [
            threading.Thread(target=lambda: made.append(store.create_job(self.request, table_id, idempotency_key="k").id))
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(made) == 8
        assert len(set(made)) == 1

    def test_progress(self, store: Store, table_id: str) -> None:
        job = store.create_job(self.request, table_id)
        running = begun(store, job.id, counts=JobCounts(total=2), phase="building", eta_s=9.5)
        assert running.started_at is not None
        later = store.update_job(job.id, counts=JobCounts(total=2, measured=1), fraction=0.5)
        assert (later.phase, later.eta_s, later.started_at) == ("building", 9.5, running.started_at)
        done = store.update_job(
            job.id, state=JobState.DONE, counts=JobCounts(total=2, measured=1, failed=1), fraction=1, eta_s=None
        )
        assert done.finished_at is not None
        assert done.started_at == running.started_at <= done.finished_at
        assert done.eta_s is None
        assert store.job(job.id) == done

    def test_a_final_job_stays_as_it_is(self, store: Store, table_id: str) -> None:
        for state in (JobState.DONE, JobState.FAILED, JobState.CANCELLED):
            final = store.update_job(store.create_job(self.request, table_id).id, state=state)
            with pytest.raises(JobConflictError, match=state.value):
                store.update_job(final.id, state=JobState.PLANNED)
            assert store.job(final.id) == final

    def test_a_state_follows_only_where_it_may(self, store: Store, table_id: str) -> None:
        job = store.create_job(self.request, table_id)
        with pytest.raises(JobConflictError, match="is queued and cannot become measuring"):
            store.update_job(job.id, state=JobState.MEASURING)
        begun(store, job.id)
        paused = store.update_job(job.id, state=JobState.PAUSED)
        assert store.unfinished_jobs() == []
        for change in ({"fraction": 0.5}, {"state": JobState.MEASURING}, {"state": JobState.PAUSED}):
            with pytest.raises(JobConflictError, match="paused"):
                store.update_job(job.id, **change)
        with pytest.raises(JobConflictError, match="paused"):
            store.begin_attempt(job.id)
        assert store.job(job.id) == paused
        assert store.update_job(job.id, state=JobState.QUEUED).started_at == paused.started_at

    def test_an_attempt_that_another_one_followed_writes_nothing(self, store: Store, table_id: str) -> None:
        """As a process that was stopped for an hour while another one took its job over, and then goes on."""
        job = store.create_job(self.request, table_id)
        stale = store.attempt(job.id, store.begin_attempt(job.id))
        stale.save_measurement(table_id, samples.measurement())
        latest = store.attempt(job.id, store.begin_attempt(job.id))
        before = (store.tables(), store.job(job.id))
        assert store.job(job.id).attempt == 2
        writes: list[Callable[[], object]] = [
            lambda: stale.update_job(job.id, state=JobState.PLANNED),
            lambda: stale.save_measurement(table_id, samples.measurement(samples.architecture())),
            lambda: stale.save_visits(table_id, [visit()]),
            lambda: stale.forget_visits(table_id, ["0" * 16], before=samples.A_TIME),
            lambda: stale.learn_scale(table_id),
            lambda: stale.set_scale(table_id, Scale(reference_ms=9.0)),
            lambda: stale.update_verdict(table_id),
        ]
        for write in writes:
            with pytest.raises(StaleAttemptError, match="its attempt 2 has begun, this is 1"):
                write()
        assert (store.tables(), store.job(job.id)) == before
        assert latest.update_job(job.id, state=JobState.PLANNED).state is JobState.PLANNED
        assert stale.job(job.id).state is JobState.PLANNED, "it may still read"

    def test_jobs_of_high_priority_come_first(self, store: Store, table_id: str) -> None:
        low, first, second, high = (self.submit(store, table_id, priority=priority) for priority in (-1, 0, 0, 9))
        assert store.unfinished_jobs() == [high, first, second, low]
        assert high.request.priority == 9

    def test_a_priority_makes_no_other_work(self, store: Store, table_id: str) -> None:
        """What an attempt at a low priority has measured counts for one at a high priority."""
        failed = self.submit(store, table_id, JobState.FAILED, priority=-1)
        assert store.attempted_since(self.submit(store, table_id, priority=5).id) == failed.started_at
        job = store.create_job(self.request, table_id, idempotency_key="k")
        urgent = self.request.model_copy(update={"priority": 1})
        assert store.create_job(urgent, table_id, idempotency_key="k") == job

    def test_a_bad_change_changes_nothing(self, store: Store, table_id: str) -> None:
        job = store.create_job(self.request, table_id)
        with pytest.raises(InvalidSpecError, match="fraction"):
            store.update_job(job.id, phase="building", fraction=1.5)
        with pytest.raises(TypeError, match="table_id"):
            store.update_job(job.id, phase="building", table_id="another")
        assert store.job(job.id) == job

    def test_lists(self, store: Store, table_id: str) -> None:
        first, second, third, fourth = (store.create_job(self.request, table_id) for _ in range(4))
        first = begun(store, first.id)
        second = store.update_job(second.id, state=JobState.CANCELLED)
        assert store.jobs() == [fourth, third, second, first]
        assert store.jobs(limit=2) == [fourth, third]
        assert store.unfinished_jobs() == [first, third, fourth]

    def submit(self, store: Store, table_id: str, state: JobState | None = None, **changes: object) -> JobPublic:
        """A job that has begun and is in that state, or one that has not."""
        job = store.create_job(self.request.model_copy(update=changes), table_id)
        if state is None:
            return job
        job = begun(store, job.id)
        return job if state is JobState.BUILDING else store.update_job(job.id, state=state)

    def test_a_request_is_attempted_since_the_first_start_that_no_finished_job_followed(
        self, store: Store, table_id: str
    ) -> None:
        submit = partial(self.submit, store, table_id)
        submit(JobState.DONE)
        cancelled = submit(JobState.CANCELLED)
        submit(JobState.CANCELLED, budget=Budget.NORMAL)
        self.submit(store, other_table(store), JobState.DONE)
        failed, killed, last = submit(JobState.FAILED), submit(JobState.BUILDING), submit()
        since = [store.attempted_since(job.id) for job in (cancelled, failed, killed, last)]
        assert since == [cancelled.created_at, *[cancelled.started_at] * 3]
        store.update_job(killed.id, state=JobState.DONE)
        assert store.attempted_since(killed.id) == cancelled.started_at, "by its own end nothing changes"
        assert store.attempted_since(last.id) == last.created_at
        last = begun(store, last.id)
        assert store.attempted_since(last.id) == last.created_at

    def test_another_request_that_was_done_ends_the_line_of_attempts(self, store: Store, table_id: str) -> None:
        submit = partial(self.submit, store, table_id)
        submit(JobState.CANCELLED)
        submit(JobState.DONE, budget=Budget.NORMAL)
        job = submit(JobState.BUILDING)
        assert store.attempted_since(job.id) == job.created_at

    def test_what_never_started_is_no_attempt(self, store: Store, table_id: str) -> None:
        queued = store.create_job(self.request, table_id)
        store.update_job(queued.id, state=JobState.CANCELLED)
        job = self.submit(store, table_id)
        assert store.attempted_since(job.id) == job.created_at

    def test_jobs_that_measure_anew_at_the_same_time_share_what_they_measure(self, store: Store, table_id: str) -> None:
        anew = self.request.model_copy(update={"remeasure": True})
        other = anew.model_copy(update={"budget": Budget.NORMAL})
        first = begun(store, store.create_job(anew, table_id).id)
        plain, second = store.create_job(self.request, table_id), store.create_job(other, table_id)
        assert store.attempted_since(second.id) == first.started_at
        assert store.attempted_since(plain.id) == plain.created_at
        store.update_job(first.id, state=JobState.FAILED)
        third = store.create_job(other, table_id)
        assert store.attempted_since(second.id) == first.started_at, "it was going on when the second was made"
        assert store.attempted_since(third.id) == third.created_at

    def test_jobs_of_another_box_are_left_to_it(self, store: Store, table_id: str) -> None:
        """On one server: neither of its target nor of its box."""
        there = store.ensure_table(samples.info(target=samples.TARGET.model_copy(update={"threads": 2})))
        mine, theirs = store.create_job(self.request, table_id, box="here"), store.create_job(self.request, there, box="there")
        stranded = store.create_job(self.request, there, box="here")
        here, elsewhere = Owner(samples.TARGET.id(), "here"), Owner("of no table", "nowhere")
        assert store.unfinished_jobs(here) == [mine, stranded]
        assert store.unfinished_jobs(elsewhere) == []
        assert store.unfinished_jobs() == [mine, theirs, stranded]
        assert [store.job_belongs(job.id, here) for job in (mine, theirs, stranded)] == [True, False, True]

    @pytest.mark.parametrize("age", [timedelta(hours=23), timedelta(hours=25)])
    def test_attempts_count_for_a_day(self, store: Store, table_id: str, age: timedelta) -> None:
        first = store.create_job(self.request, table_id)
        begun(store, first.id, started_at=first.created_at - age)
        job = self.submit(store, table_id, JobState.BUILDING)
        at_most = job.created_at - timedelta(days=1)
        assert store.attempted_since(job.id) == max(first.created_at - age, at_most)

    def test_unknown(self, store: Store) -> None:
        for call in (
            lambda: store.job("nonesuch"),
            lambda: store.update_job("nonesuch", phase="x"),
            lambda: store.attempted_since("nonesuch"),
        ):
            with pytest.raises(JobNotFoundError, match="'nonesuch'"):
                call()


class TestManyJobs:
    def ended(self, store: Store, table_id: str, count: int) -> list[JobPublic]:
        jobs = [store.create_job(JobCreate(space=samples.SPACE), table_id) for _ in range(count)]
        long_ago = datetime.now(UTC) - timedelta(days=2)
        return [store.update_job(job.id, state=JobState.DONE, finished_at=long_ago) for job in jobs]

    def test_are_counted_by_state(self, store: Store, table_id: str) -> None:
        self.ended(store, table_id, 2)
        store.create_job(JobCreate(space=samples.SPACE), table_id)
        assert store.job_counts() == {JobState.DONE: 2, JobState.QUEUED: 1}

    def test_the_oldest_that_ended_are_forgotten(self, store: Store, table_id: str) -> None:
        waiting = store.create_job(JobCreate(space=samples.SPACE), table_id)
        ended = self.ended(store, table_id, 4)
        assert store.forget_jobs(keep=2, keep_bytes=2**20) == 2
        assert [job.id for job in store.jobs()] == [ended[3].id, ended[2].id, waiting.id]
        assert store.forget_jobs(keep=2, keep_bytes=2**20) == 0

    def test_large_requests_are_forgotten_sooner(self, store: Store, table_id: str) -> None:
        ended = self.ended(store, table_id, 3)
        size = len(JobCreate(space=samples.SPACE).model_dump_json())
        assert store.forget_jobs(keep=100, keep_bytes=size + size // 2) == 2
        assert [job.id for job in store.jobs()] == [ended[2].id]

    def test_those_of_the_last_day_stay(self, store: Store, table_id: str) -> None:
        job = store.create_job(JobCreate(space=samples.SPACE), table_id)
        store.update_job(job.id, state=JobState.DONE)
        assert store.forget_jobs(keep=0, keep_bytes=0) == 0

    def test_tables_are_counted_by_outcome(self, store: Store, table_id: str) -> None:
        failed = samples.measurement(samples.operator(77)).model_copy(
            update={"status": Status.CRASHED, "value_ms": None, "stderr_ms": None, "message": "no"}
        )
        store.save_measurement(table_id, samples.measurement())
        store.save_measurement(table_id, failed)
        empty = other_table(store)
        assert store.table_counts() == {table_id: (1, 1), empty: (0, 0)}


class TestImport:
    def test_into_an_empty_database(self, store: Store) -> None:
        imported = samples.table(scale=Scale(reference_ms=0.3))
        assert store.table(store.import_table(imported)) == imported
        assert store.import_table(imported) == imported.info.id()
        assert store.table(imported.info.id()) == imported

    def test_adds_what_is_missing_or_failed_and_keeps_what_is_good(self, store: Store, table_id: str) -> None:
        here = [samples.measurement(samples.operator(1), 1.0), samples.failure(samples.operator(2))]
        there = [samples.measurement(samples.operator(channels), 9.0) for channels in (1, 2, 3)]
        for each in here:
            store.save_measurement(table_id, each)
        store.import_table(Table(info=samples.info(), entries=tuple(there)))
        assert store.table(table_id) == Table(info=samples.info(), entries=(here[0], there[1], there[2]))

    def test_an_empty_table_takes_the_scale(self, store: Store, table_id: str) -> None:
        store.import_table(samples.table(scale=Scale(reference_ms=0.3)))
        assert store.table_info(table_id).scale == Scale(reference_ms=0.3)

    @pytest.mark.parametrize(
        ("here", "there", "kept"), [("", "", 0.3), ("", "why", 0.3), ("why", "", 0.31), ("why", "why", 0.3)]
    )
    def test_what_is_imported_is_brought_to_one_scale(
        self, store: Store, table_id: str, here: str, there: str, kept: float
    ) -> None:
        """Of two, a settled one is kept; of two alike, that which is here."""
        store.set_scale(table_id, Scale(reference_ms=0.3, unsettled=here))
        store.save_measurement(table_id, samples.measurement(samples.operator(99), 3.0))
        store.import_table(samples.table(scale=Scale(reference_ms=0.31, unsettled=there)))
        found = store.table(table_id).by_key
        assert found[samples.operator(99).key()].value_ms == pytest.approx(3.0 * kept / 0.3)
        assert found[samples.operator(8).key()].value_ms == pytest.approx(1 / 3 * kept / 0.31)
        scale = store.table_info(table_id).scale
        assert scale is not None
        assert scale.reference_ms == kept

    @pytest.mark.parametrize(("here", "there"), [(0.3, 0.4), (0.3, None), (None, 0.4)])
    def test_scales_that_cannot_be_of_one_device_are_not_mixed(
        self, store: Store, table_id: str, here: float | None, there: float | None
    ) -> None:
        store.save_measurement(table_id, samples.measurement(samples.operator(99)))
        if here is not None:
            store.set_scale(table_id, Scale(reference_ms=here))
        before = store.table(table_id)
        with pytest.raises(TableMismatchError, match=f"{here or 'none'}.* here, {there or 'none'}.* there"):
            store.import_table(samples.table(scale=None if there is None else Scale(reference_ms=there)))
        assert store.table(table_id) == before


class TestThreads:
    def test_writers_and_readers_at_once(self, store: Store, table_id: str) -> None:
        channels = count(1)
        problems: list[BaseException] = []

        def write() -> None:
            try:
                for _ in range(25):
                    store.save_measurement(table_id, samples.measurement(samples.operator(next(channels))))
                    assert store.table(table_id).entries
            except BaseException as problem:
                problems.append(problem)

        threads = [threading.Thread(target=write) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not problems
        assert len(store.table(table_id).entries) == 100

    def test_nobody_overwrites_what_another_tells_of_builds(self, store: Store, table_id: str) -> None:
        """Each on connections of its own, as processes are."""
        problems: list[BaseException] = []

        def tell(name: str) -> None:
            try:
                with Store.open(store.location) as own:
                    for number in range(10):
                        own.add_rebuild_spread(table_id, rebuilt(f"{name} {number}"))
            except BaseException as problem:
                problems.append(problem)

        threads = [threading.Thread(target=tell, args=(name,)) for name in "abcd"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not problems
        found = store.table_info(table_id).rebuild_spread
        assert found is not None
        assert found.known_keys() == {f"{name} {number}" for name in "abcd" for number in range(10)}


def test_everything_is_there_again_after_reopening(location: Location) -> None:
    with Store.open(location) as store:
        table_id = store.import_table(samples.table(scale=Scale(reference_ms=0.3)))
        store.save_visits(table_id, [visit()])
        job = store.create_job(JobCreate(space=samples.SPACE), table_id, idempotency_key="k")
    with Store.open(location, create=False) as store:
        assert store.table(table_id) == samples.table(scale=Scale(reference_ms=0.3))
        assert store.visits(table_id, [visit().graph_key]) == [visit()]
        assert store.create_job(JobCreate(space=samples.SPACE), table_id, idempotency_key="k") == job
        store.close()
        store.close()


class TestTokens:
    def test_they_come_back_as_they_were_made(self, store: Store) -> None:
        made = [
            make_token(name, role, expires_at=until)[1]
            for name, role, until in (("ci", Role.PROFILE, None), ("bob", Role.READ, samples.A_TIME))
        ]
        for stored in made:
            store.add_token(stored)
        assert store.tokens() == made

    def test_a_name_is_given_once(self, store: Store) -> None:
        store.add_token(make_token("ci", Role.READ, expires_at=None)[1])
        store.revoke_token("ci")
        with pytest.raises(TokenConflictError, match="'ci'"):
            store.add_token(make_token("ci", Role.READ, expires_at=None)[1])
        store.forget_token("ci")
        store.add_token(make_token("ci", Role.READ, expires_at=None)[1])

    def test_a_token_is_revoked_once(self, store: Store) -> None:
        store.add_token(make_token("ci", Role.READ, expires_at=None)[1])
        first = store.revoke_token("ci")
        assert first.revoked_at is not None
        assert store.revoke_token("ci") == first
        assert [stored.token for stored in store.tokens()] == [first]

    def test_an_unknown_token(self, store: Store) -> None:
        for call in (store.revoke_token, store.forget_token):
            with pytest.raises(TokenNotFoundError, match="'nobody'"):
                call("nobody")
