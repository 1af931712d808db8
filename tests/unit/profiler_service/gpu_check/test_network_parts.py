"""Steps of a validation, and what is needed for one."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from models.spaces.registry import create_space
from models.spec.errors import ErrorCode, TableMismatchError
from models.spec.measurements import Budget
from models.spec.tables import Table
from nas_client.errors import ServiceError
from nas_client.estimates import measure
from nas_client.service import ServiceClient
from nas_client.settings import ClientSettings
from nas_client.transport import Transport
from profiler_service.gpu_check import results as check_results
from profiler_service.gpu_check.bench import Bench, Ended, SkipPartError
from profiler_service.gpu_check.choices import REHEARSAL
from profiler_service.gpu_check.network_parts import steps, student, validation
from profiler_service.gpu_check.results import Outcome, PartResult
from tests.support.fake_service import SPACE, TARGET, FakeService, Reply, make_table, network_ms, transport

NETWORK = create_space(SPACE).sample(np.random.default_rng(1))


@pytest.mark.parametrize(
    ("count", "at_once", "expected"),
    [(30, 10, [10, 20, 30]), (8, 8, [8]), (40, 40, [40]), (30, 4, [8, 12, 16, 20, 24, 28, 30]), (25, 10, [10, 20, 25])],
)
def test_each_step_adds_networks_to_those_that_are_measured(count: int, at_once: int, expected: list[int]) -> None:
    assert steps(count, at_once) == expected


def test_without_a_table_there_is_nothing_to_validate(tmp_path: Path) -> None:
    bench = Bench(REHEARSAL, tmp_path, "validation", 60.0)
    with pytest.raises(SkipPartError, match="run table-torch-float32-in_context first"):
        validation(bench, "torch", "float32")


def test_the_student_needs_the_published_data_and_its_own_space(tmp_path: Path) -> None:
    bench = Bench(REHEARSAL, tmp_path, "student", 60.0)
    with pytest.raises(SkipPartError, match=r"not of a space with layers=3, widths=4, base_channels=3$"):
        student(bench, "torch", "float32", tmp_path)
    usual = Bench(replace(REHEARSAL, parameters=()), tmp_path, "student", 60.0)
    with pytest.raises(SkipPartError, match=r"no published student at .*--reference"):
        student(usual, "torch", "float32", tmp_path)


class Refusing(FakeService):
    """Takes no jobs, for that reason."""

    code = ErrorCode.INVALID_SPEC
    refused = ("POST", "/v1/jobs")

    def answer(self, method: str, path: str, headers: httpx.Headers, body: bytes) -> Reply:
        if (method, path) == self.refused:
            return self._error(422, self.code, "isolated_hot measures no networks", "")
        return super().answer(method, path, headers, body)


def measured(service: FakeService) -> dict[str, Any]:
    """What is said of a network of the service's only table."""
    settings = ClientSettings()
    with ServiceClient(Transport("http://box:1", settings, http=transport(service)), settings) as client:
        (table_id,) = service.tables
        return measure(client, NETWORK, table_id, Budget.QUICK, lambda _job: None)


def test_a_network_is_measured_beside_its_sum() -> None:
    row = measured(FakeService(make_table()))
    assert row["measured_ms"] == pytest.approx(network_ms(NETWORK))
    assert row["error"] == pytest.approx(row["sum_ms"] / row["measured_ms"] - 1)
    assert (row["message"], row["refused"], row["missing"]) == ("", False, [])


def test_a_table_of_another_target_is_refused_before_anything_is_measured() -> None:
    other = TARGET.model_copy(update={"threads": 4})
    service = FakeService(make_table(target=other))
    with pytest.raises(TableMismatchError, match=r"was measured on another target: threads: 4 here, 1 there"):
        measured(service)
    assert service.created == {}


def test_what_was_measured_for_another_table_is_not_set_beside_this_ones_sum() -> None:
    """As where the table is of an earlier version of its protocol."""
    table = make_table()
    earlier = Table(info=table.info.model_copy(update={"protocol_version": 0}), entries=table.entries)
    message = f"measured the networks for table {table.info.id()}, not for table {earlier.info.id()}"
    with pytest.raises(TableMismatchError, match=message):
        measured(FakeService(earlier))


def test_a_sum_is_on_the_scale_that_the_job_leaves() -> None:
    table = make_table()
    entries = (entry.model_copy(update={"value_ms": 2 * (entry.value_ms or 0)}) for entry in table.entries)
    slower = Table(info=table.info, entries=tuple(entries))

    class Rescaled(FakeService):
        """Learns another scale by every job."""

        def answer(self, method: str, path: str, headers: httpx.Headers, body: bytes) -> Reply:
            if (method, path) == ("POST", "/v1/jobs"):
                self.tables[table.info.id()] = slower
            return super().answer(method, path, headers, body)

    row, before = measured(Rescaled(table)), measured(FakeService(table))
    assert row["sum_ms"] == pytest.approx(2 * before["sum_ms"])


def test_a_protocol_that_measures_no_networks_is_no_failure() -> None:
    row = measured(Refusing(make_table()))
    assert (row["measured_ms"], row["refused"], row["message"]) == (None, True, "isolated_hot measures no networks")


@pytest.mark.parametrize("code", [ErrorCode.BACKEND_UNAVAILABLE, ErrorCode.CONFLICT, ErrorCode.NOT_FOUND])
def test_a_job_that_is_not_taken_for_another_reason_is_a_failure(code: ErrorCode) -> None:
    service = Refusing(make_table())
    service.code = code
    with pytest.raises(ServiceError, match="measures no networks"):
        measured(service)


def test_what_goes_wrong_after_the_job_was_taken_is_a_failure() -> None:
    service = Refusing(make_table())
    service.refused = ("POST", "/v1/lookup")
    with pytest.raises(ServiceError, match="measures no networks"):
        measured(service)


def student_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *rows: dict[str, Any]) -> Bench:
    """The student's part, where measuring said that."""
    source = tmp_path / "fasterseg" / "student.json"
    source.parent.mkdir(exist_ok=True)
    source.write_text(NETWORK.model_dump_json())
    bench = Bench(replace(REHEARSAL, parameters=()), tmp_path, "student", 60.0)
    monkeypatch.setattr(
        "profiler_service.gpu_check.network_parts.finished_tables", lambda *_: dict.fromkeys(range(len(rows)), "0123")
    )
    monkeypatch.setattr(Bench, "service", lambda *_: nullcontext("http://box:1"))
    monkeypatch.setattr(Bench, "run", lambda *_args, **_options: Ended(0, {"tables": list(rows)}, ""))
    student(bench, "torch", "float32", tmp_path)
    return bench


def test_the_student_must_be_measured_by_some_protocol_and_fail_by_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = {"measured_ms": 5.0, "refused": False, "message": ""}
    refused = {"measured_ms": None, "refused": True, "message": "no networks"}
    failed = {"measured_ms": None, "refused": False, "message": "it crashed"}
    for rows, passed in (((good, refused), True), ((good, failed), False), ((refused,), False)):
        (check,) = student_part(tmp_path, monkeypatch, *rows).checks
        assert check.passed is passed


def test_the_page_names_unusual_settings() -> None:
    result = PartResult(part="clocks-torch", outcome=Outcome.DONE, started_at=datetime(2026, 1, 1, tzinfo=UTC), seconds=1.0)
    assert "Under" not in check_results.page({"clocks-torch": result})
    under = result.model_copy(update={"provenance": {"commit": "ab", "OPCLOCK_TF32": "true", "OPCLOCK_THREADS": "2"}})
    assert "\nUnder `OPCLOCK_TF32=true`, `OPCLOCK_THREADS=2`.\n" in check_results.page({"clocks-torch": under})
