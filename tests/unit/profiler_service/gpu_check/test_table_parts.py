"""Parts that measure, with commands that only pretend: what goes on where it was, what is tried again, what is refused."""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from getpass import getuser
from pathlib import Path
from typing import Any

import pytest

from models.spec.measurements import ProtocolName
from models.spec.rebuilds import FailedRebuild, RebuildSpread, RebuiltEntry
from models.spec.table_files import TableFormat, read_table, write_table
from models.spec.tables import Table
from profiler_service.gpu_check import check_parts
from profiler_service.gpu_check import results as check_results
from profiler_service.gpu_check.bench import ROOT, Bench, Ended, OutOfTimeError, PartError, SkipPartError
from profiler_service.gpu_check.choices import REHEARSAL
from profiler_service.gpu_check.driver import run_part
from profiler_service.gpu_check.plan import Part
from profiler_service.gpu_check.results import CommandRecord, Outcome, PartResult
from profiler_service.gpu_check.table_parts import measured_table, repeatability, table, table1, table_part
from tests.support.fake_service import make_table
from tests.support.full_disk import full_disk

NAME = table_part("paper", "float32", "in_context")
REFUSED = Ended(3, {"error": {"code": "invalid_spec", "message": "no such dtype here"}}, "")
Answer = Callable[[str, tuple[str, ...]], Ended]
Answering = Callable[..., list[str]]


def profiled(failed: int = 0, table_id: str = "0123") -> Ended:
    counts = {"total": 4, "reused": 0, "measured": 4 - failed, "failed": failed}
    seconds = {"total_s": 1.0, "rebuilds_s": 0.6}
    return Ended(4 if failed else 0, {"table_id": table_id, "counts": counts, "seconds": seconds}, "")


def rebuilt_table(failed: int = 0) -> Table:
    """A table of which two entries were built anew, and so many could not."""
    table = make_table()
    one, two, *others = table.entries
    entries = tuple(
        RebuiltEntry(key=entry.key(), label=entry.workload.label(), value_ms=1.0, between_ms=between_ms, within_ms=0.01)
        for entry, between_ms in ((one, 0.02), (two, 0.06))
    )
    failures = tuple(FailedRebuild(key=entry.key(), label=entry.workload.label()) for entry in others[:failed])
    spread = RebuildSpread(
        builds=3, rounds=4, entries=entries, failures=failures, failed=failed, measured_at=datetime(2026, 1, 1, tzinfo=UTC)
    )
    return table.model_copy(update={"info": table.info.model_copy(update={"rebuild_spread": spread})})


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> Answering:
    """Has every command answered by a function; gives the names of those that were run. `export` writes a table."""

    def setup(answer: Answer, table: Table | None = None) -> list[str]:
        names: list[str] = []

        def run(bench: Bench, name: str, *arguments: object, **_: Any) -> Ended:
            names.append(name)
            words = tuple(map(str, arguments))
            bench.commands.append(CommandRecord(name=name, arguments=words, environment={}, returncode=0, seconds=2.0))
            if words[1] == "export":
                write_table(table or make_table(), Path(words[words.index("-o") + 1]), TableFormat.PARQUET)
                return Ended(0, {}, "")
            return answer(name, words)

        monkeypatch.setattr(Bench, "run", run)
        return names

    return setup


def measure_table(output: Path, protocol: str = "in_context") -> PartResult:
    def run(bench: Bench) -> None:
        table(bench, "paper", "float32", protocol)

    return run_part(Part(table_part("paper", "float32", protocol), "pretends", run), REHEARSAL, output, 60.0)


def test_a_table_goes_on_with_the_share_that_was_not_finished(tmp_path: Path, answering: Answering) -> None:
    late = {"share-2"}

    def answer(name: str, words: tuple[str, ...]) -> Ended:
        if name in late:
            raise OutOfTimeError("late", seconds=2.0)
        assert words[words.index("--share") + 1] == f"{name[-1]}/2"
        return profiled()

    names = answering(answer)
    first = measure_table(tmp_path)
    assert (first.outcome, first.summary) == (Outcome.UNFINISHED, {"shares_done": 1, "shares": 2})
    late.clear()
    second = measure_table(tmp_path)
    assert names == ["share-1", "share-2", "share-2", "export-table"]
    assert second.outcome is Outcome.DONE
    assert second.summary["seconds"] == 6.0, "interrupted commands cost time as well"
    assert second.summary["entries"] == len(make_table().entries)


def test_failed_operators_are_tried_again_and_their_table_is_used(tmp_path: Path, answering: Answering) -> None:
    names = answering(lambda name, words: profiled(failed=1 if name == "share-1" else 0))
    measure_table(tmp_path)
    bench = Bench(REHEARSAL, tmp_path, "validation", 60.0)
    assert measured_table(bench, "paper", "float32", "in_context") == "0123"
    measure_table(tmp_path)
    assert names == ["share-1", "share-2", "export-table", "share-1", "export-table"]


def rebuilding(words: tuple[str, ...]) -> bool:
    """Whether the command has entries built anew; it says so or the opposite."""
    asked = words[words.index("--rebuild") + 1]
    assert asked in ("always", "never")
    return asked == "always"


def test_builds_are_compared_by_the_usual_protocol_until_a_share_has_told(tmp_path: Path, answering: Answering) -> None:
    """An interrupted share goes on with the same command; one that only has failures to try again does not."""
    outcomes = iter([profiled(failed=4), OutOfTimeError("late"), profiled(failed=1), profiled(), profiled()])
    asked: list[tuple[str, bool]] = []

    def answer(name: str, words: tuple[str, ...]) -> Ended:
        asked.append((name, rebuilding(words)))
        outcome = next(outcomes)
        if isinstance(outcome, OutOfTimeError):
            raise outcome
        return outcome

    answering(answer)
    for _ in range(3):
        measure_table(tmp_path)
    again = [("share-1", True), ("share-2", True), ("share-1", False)]
    assert asked == [("share-1", True), ("share-2", True), *again], "of share 1 nothing had a value at first"

    asked.clear()
    outcomes = iter([profiled(), profiled()])
    measure_table(tmp_path, "isolated_hot")
    assert asked == [("share-1", False), ("share-2", False)]


@pytest.mark.parametrize("failed", [0, 1])
def test_how_much_builds_differ_is_reported(tmp_path: Path, answering: Answering, failed: int) -> None:
    answering(lambda name, words: profiled(), rebuilt_table(failed))
    result = measure_table(tmp_path)
    assert result.outcome is Outcome.DONE
    found = result.summary["rebuilds"]
    assert (found["entries"], found["builds"], found["failed"], found["seconds"]) == (2, 3, failed, 1.2)
    assert (found["between_builds"], found["worst_between_builds"], found["within_a_build"]) == (0.04, 0.06, 0.01)
    assert result.summary["entries_per_s"] == round(len(make_table().entries) / (4.0 - 2 * 0.6), 3)
    (check,) = (check for check in result.checks if check.name == "builds are compared")
    assert (check.passed, check.aim) == (failed == 0, True)
    assert "2 entries built 3 times: builds differ by 4.0% (worst 6.0%)" in check.detail
    page = check_results.page({NAME: result})
    assert f"| {NAME} | 2, 3 times | {failed} | 1.2 | 4.00% | 6.00% | 1.00% |  |" in page.splitlines()


@pytest.mark.parametrize(("told", "rebuilds_s"), [(profiled().document, 3 * 0.6), (None, 2 * 0.6), ("cut sh", 2 * 0.6)])
def test_building_anew_that_an_interrupted_command_tells_of_is_no_measuring(
    tmp_path: Path, answering: Answering, told: Any, rebuilds_s: float
) -> None:
    outcomes = iter([OutOfTimeError("late", document=told, seconds=2.0), profiled(), profiled()])

    def answer(name: str, words: tuple[str, ...]) -> Ended:
        outcome = next(outcomes)
        if isinstance(outcome, OutOfTimeError):
            raise outcome
        return outcome

    answering(answer, rebuilt_table())
    assert measure_table(tmp_path).outcome is Outcome.UNFINISHED
    summary = measure_table(tmp_path).summary
    assert (summary["seconds"], summary["rebuilds"]["seconds"]) == (6.0, round(rebuilds_s, 3))
    assert summary["entries_per_s"] == round(len(make_table().entries) / (6.0 - rebuilds_s), 3)


def test_a_share_that_was_not_started_costs_nothing(tmp_path: Path, answering: Answering) -> None:
    outcomes = iter([profiled(), OutOfTimeError("no time left"), profiled()])

    def answer(name: str, words: tuple[str, ...]) -> Ended:
        outcome = next(outcomes)
        if isinstance(outcome, OutOfTimeError):
            raise outcome
        return outcome

    answering(answer)
    measure_table(tmp_path)
    assert measure_table(tmp_path).summary["seconds"] == 4.0


def test_a_full_disk_costs_only_the_share_that_was_measured_then(tmp_path: Path, answering: Answering) -> None:
    def answer(name: str, words: tuple[str, ...]) -> Ended:
        if name == "share-2":
            raise OutOfTimeError("late")
        return profiled()

    names = answering(answer)
    measure_table(tmp_path)
    with full_disk("progress.json"):
        assert "No space left" in measure_table(tmp_path).reason
    answering(lambda name, words: profiled())
    assert measure_table(tmp_path).outcome is Outcome.DONE
    assert names == ["share-1", "share-2", "share-2"]


def test_tables_whose_builds_were_not_compared_have_no_line_about_them(tmp_path: Path, answering: Answering) -> None:
    answering(lambda name, words: profiled())
    results = {protocol: measure_table(tmp_path, protocol) for protocol in ("in_context", "isolated")}
    (check,) = (check for check in results["in_context"].checks if check.name == "builds are compared")
    assert (check.passed, check.detail) == (False, "build-to-build variance was not measured")
    assert "## Builds" not in check_results.page({result.part: result for result in results.values()})


def test_an_unfinished_table_is_not_used(tmp_path: Path, answering: Answering) -> None:
    def answer(name: str, words: tuple[str, ...]) -> Ended:
        raise OutOfTimeError("late")

    answering(answer)
    assert measure_table(tmp_path).outcome is Outcome.UNFINISHED
    assert measured_table(Bench(REHEARSAL, tmp_path, "x", 60.0), "paper", "float32", "in_context") is None


def test_shares_of_different_targets_do_not_become_one_table(tmp_path: Path, answering: Answering) -> None:
    answering(lambda name, words: profiled(table_id=name))
    result = measure_table(tmp_path)
    assert result.outcome is Outcome.FAILED
    assert "the target has changed" in result.reason


def test_a_protocol_that_the_backend_refuses_is_skipped(tmp_path: Path, answering: Answering) -> None:
    answering(lambda name, words: REFUSED)
    result = measure_table(tmp_path)
    assert (result.outcome, result.reason) == (Outcome.SKIPPED, "no such dtype here")


def _two_dtypes(tmp_path: Path, name: str) -> Bench:
    return Bench(replace(REHEARSAL, dtypes=("float16", "float32")), tmp_path, name, 60.0)


def test_repeatability_takes_the_first_dtype_that_there_is(tmp_path: Path, answering: Answering) -> None:
    difference = {"same_table": True, "mismatch": "", "common": 8, "median_relative": 0.0, "p95_absolute": 0.02}

    def answer(name: str, words: tuple[str, ...]) -> Ended:
        if name.startswith("diff"):
            return Ended(0, difference | {"median_absolute": 0.02 if name == "diff-2-3" else 0.005}, "")
        return REFUSED if "float16" in words else profiled()

    names = answering(answer)
    bench = _two_dtypes(tmp_path, "repeatability")
    repeatability(bench, "paper")
    assert names[:2] == ["process-1", "process-1"]
    assert bench.summary["dtype"] == "float32"
    assert bench.summary["median_relative_difference"] == 0.02
    aim = bench.checks[-1]
    assert (aim.name, aim.passed, aim.aim) == ("repeatability", False, True)


def table1_of(words: tuple[str, ...]) -> Ended:
    """One operator under every protocol that the command asks for."""
    protocols = [words[i + 1] for i, word in enumerate(words) if word == "--protocol"]
    latencies = [{"protocol": protocol, "value_ms": 0.1} for protocol in protocols]
    return Ended(0, {"operators": [{"name": "zoomed", "latencies": latencies, "paper": {"ms": 0.09}}]}, "")


def test_table1_takes_one_command_for_all_protocols(tmp_path: Path, answering: Answering) -> None:
    names = answering(lambda name, words: table1_of(words))
    bench = Bench(REHEARSAL, tmp_path, "table1", 60.0)
    table1(bench, "paper")
    assert names == ["float32"]
    assert set(bench.summary["measured"]) == {f"float32-{protocol.value}" for protocol in ProtocolName}


def test_table1_goes_on_one_by_one_where_a_protocol_is_refused(tmp_path: Path, answering: Answering) -> None:
    names = answering(lambda name, words: REFUSED if "isolated_cold" in words else table1_of(words))
    bench = Bench(REHEARSAL, tmp_path, "table1", 60.0)
    table1(bench, "paper")
    assert names == ["float32", *(f"float32-{protocol.value}" for protocol in ProtocolName)]
    assert set(bench.summary["refused"]) == {"float32-isolated_cold"}
    assert len(bench.summary["measured"]) == len(ProtocolName) - 1
    assert all(check.passed for check in bench.checks)


def test_table1_keeps_what_is_measured_beside_what_is_refused(tmp_path: Path, answering: Answering) -> None:
    answering(lambda name, words: REFUSED if "float16" in words else table1_of(words))
    bench = _two_dtypes(tmp_path, "table1")
    table1(bench, "paper")
    assert bench.summary["measured"]["float32-in_context"] == {"zoomed": {"ms": 0.1, "paper_ms": 0.09}}
    assert bench.summary["refused"]["float16-isolated"] == "no such dtype here"
    answering(lambda name, words: REFUSED)
    with pytest.raises(SkipPartError, match="no such dtype here"):
        table1(bench, "paper")


def test_nothing_in_common_is_a_failure(tmp_path: Path, answering: Answering) -> None:
    nothing = {"same_table": True, "mismatch": "", "common": 0, "median_relative": None, "p95_absolute": None}
    nothing |= {"median_absolute": None}
    answering(lambda name, words: Ended(0, nothing, "") if name.startswith("diff") else profiled())
    with pytest.raises(PartError, match="no value in common"):
        repeatability(Bench(REHEARSAL, tmp_path, "repeatability", 60.0), "paper")


def test_no_file_of_a_table_names_the_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = platform.node()

    def run(bench: Bench, name: str, *arguments: object, **_: Any) -> Ended:
        words = tuple(map(str, arguments))
        bench.commands.append(CommandRecord(name=name, arguments=words, environment={}, returncode=0, seconds=2.0))
        if words[1] != "export":
            return profiled()
        table = make_table()
        told = table.info.model_copy(update={"provenance": {"host": host, "system": "Linux", "opclock": "0.1.0"}})
        write_table(table.model_copy(update={"info": told}), Path(words[words.index("-o") + 1]), TableFormat.PARQUET)
        return Ended(0, {}, "")

    monkeypatch.setattr(Bench, "run", run)
    assert measure_table(tmp_path).outcome is Outcome.DONE
    assert read_table(tmp_path / NAME / "table.parquet").info.provenance == {"opclock": "0.1.0"}
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [path for path in files if host.encode() in path.read_bytes()] == []


TELLING = """
import pytest
from pathlib import Path

ROOT, HOME = {root!r}, {home!r}


def test_passes(): pass


@pytest.mark.parametrize("folder", [ROOT])
def test_fails(folder, tmp_path):
    print(HOME + "/printed")
    raise ValueError(f"{{folder}}/no <&> such, nor {{tmp_path}}")


def test_is_skipped():
    pytest.skip(HOME + "/absent")
"""


def test_no_report_of_tests_names_the_host_its_folders_or_its_user(tmp_path: Path) -> None:
    (tmp_path / "test_one.py").write_text(TELLING.format(root=str(ROOT), home=str(Path.home() / "x")))
    bench = Bench(REHEARSAL, tmp_path / "output", "contract", 60.0)
    check_parts._pytest(bench, str(tmp_path / "test_one.py"), "-o", "junit_logging=all")
    assert bench.summary == {"tests": 3, "failures": 1, "errors": 0, "skipped": 1, "passed": 1}
    kept = {path.name: path.read_text() for path in bench.folder.iterdir()}
    assert set(kept) == {"pytest.out", "pytest.err", "tests.xml"}
    for name, text in kept.items():
        found = [told for told in (str(ROOT), str(Path.home()), platform.node(), f"pytest-of-{getuser()}") if told in text]
        assert found == [], name
    assert "hostname" not in kept["tests.xml"]
    for left in ("./no &lt;&amp;&gt; such, nor ", "pytest-of-user", "~/x/printed", "~/x/absent"):
        assert left in kept["tests.xml"]


def test_the_probe_is_of_the_gpu_that_the_settings_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answering: Callable[[Answer], list[str]]
) -> None:
    def answer(name: str, words: tuple[str, ...]) -> Ended:
        assert words[words.index("--device-index") + 1] == "1"
        Path(words[words.index("-o") + 1]).write_text('{"executes": false, "executed_variants": [], "variants": {}}')
        return Ended(1, {}, "")

    monkeypatch.setenv("OPCLOCK_DEVICE_INDEX", "1")
    answering(answer)
    bench = Bench(REHEARSAL, tmp_path, "probe", 60.0)
    check_parts.probe(bench)
    assert bench.summary["executes"] is False
