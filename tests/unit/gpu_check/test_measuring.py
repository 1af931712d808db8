"""Parts that measure, with commands that only pretend: what goes on where it was, what is tried again, what is refused."""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import replace
from getpass import getuser
from pathlib import Path
from typing import Any

import pytest

from models.spec.table_files import TableFormat, read_table, write_table
from scripts.gpu_check import checking
from scripts.gpu_check.bench import ROOT, Bench, Ended, OutOfTimeError, PartError, SkipPartError
from scripts.gpu_check.choices import REHEARSAL
from scripts.gpu_check.driver import run_part
from scripts.gpu_check.measuring import measured_table, repeatability, table, table1, table_part
from scripts.gpu_check.plan import Part
from scripts.gpu_check.results import CommandRecord, Outcome, PartResult
from tests.fake_service import make_table

NAME = table_part("paper", "float32", "in_context")
REFUSED = Ended(3, {"error": {"code": "invalid_spec", "message": "no such dtype here"}}, "")
Answer = Callable[[str, tuple[str, ...]], Ended]


def profiled(failed: int = 0, table_id: str = "0123") -> Ended:
    counts = {"total": 4, "reused": 0, "measured": 4 - failed, "failed": failed}
    return Ended(4 if failed else 0, {"table_id": table_id, "counts": counts, "seconds": {"total_s": 1.0}}, "")


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> Callable[[Answer], list[str]]:
    """Has every command answered by a function; gives the names of those that were run. `export` writes a table."""

    def setup(answer: Answer) -> list[str]:
        names: list[str] = []

        def run(bench: Bench, name: str, *arguments: object, **_: Any) -> Ended:
            names.append(name)
            words = tuple(map(str, arguments))
            bench.commands.append(CommandRecord(name=name, arguments=words, environment={}, returncode=0, seconds=2.0))
            if words[1] == "export":
                write_table(make_table(), Path(words[words.index("-o") + 1]), TableFormat.PARQUET)
                return Ended(0, {}, "")
            return answer(name, words)

        monkeypatch.setattr(Bench, "run", run)
        return names

    return setup


def measure_table(output: Path) -> PartResult:
    def run(bench: Bench) -> None:
        table(bench, "paper", "float32", "in_context")

    return run_part(Part(NAME, "pretends", run), REHEARSAL, output, 60.0)


def test_a_table_goes_on_with_the_share_that_was_not_finished(tmp_path: Path, answering: Callable[[Answer], list[str]]) -> None:
    late = {"share-2"}

    def answer(name: str, words: tuple[str, ...]) -> Ended:
        if name in late:
            raise OutOfTimeError("late")
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


def test_failed_operators_are_tried_again_and_their_table_is_used(
    tmp_path: Path, answering: Callable[[Answer], list[str]]
) -> None:
    names = answering(lambda name, words: profiled(failed=1 if name == "share-1" else 0))
    measure_table(tmp_path)
    bench = Bench(REHEARSAL, tmp_path, "validation", 60.0)
    assert measured_table(bench, "paper", "float32", "in_context") == "0123"
    measure_table(tmp_path)
    assert names == ["share-1", "share-2", "export-table", "share-1", "export-table"]


def test_an_unfinished_table_is_not_used(tmp_path: Path, answering: Callable[[Answer], list[str]]) -> None:
    def answer(name: str, words: tuple[str, ...]) -> Ended:
        raise OutOfTimeError("late")

    answering(answer)
    assert measure_table(tmp_path).outcome is Outcome.UNFINISHED
    assert measured_table(Bench(REHEARSAL, tmp_path, "x", 60.0), "paper", "float32", "in_context") is None


def test_shares_of_different_targets_do_not_become_one_table(tmp_path: Path, answering: Callable[[Answer], list[str]]) -> None:
    answering(lambda name, words: profiled(table_id=name))
    result = measure_table(tmp_path)
    assert result.outcome is Outcome.FAILED
    assert "something about the target has changed" in result.reason


def test_a_protocol_that_the_backend_refuses_is_skipped(tmp_path: Path, answering: Callable[[Answer], list[str]]) -> None:
    answering(lambda name, words: REFUSED)
    result = measure_table(tmp_path)
    assert (result.outcome, result.reason) == (Outcome.SKIPPED, "no such dtype here")


def _two_dtypes(tmp_path: Path, name: str) -> Bench:
    return Bench(replace(REHEARSAL, dtypes=("float16", "float32")), tmp_path, name, 60.0)


def test_repeatability_takes_the_first_dtype_that_there_is(tmp_path: Path, answering: Callable[[Answer], list[str]]) -> None:
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


def test_table1_keeps_what_is_measured_beside_what_is_refused(tmp_path: Path, answering: Callable[[Answer], list[str]]) -> None:
    rows = [{"name": "zoomed", "latencies": [{"value_ms": 0.1}], "paper": {"ms": 0.09}}]
    answering(lambda name, words: REFUSED if "float16" in words else Ended(0, {"operators": rows}, ""))
    bench = _two_dtypes(tmp_path, "table1")
    table1(bench, "paper")
    assert bench.summary["measured"]["float32-in_context"] == {"zoomed": {"ms": 0.1, "paper_ms": 0.09}}
    assert bench.summary["refused"]["float16-isolated"] == "no such dtype here"
    answering(lambda name, words: REFUSED)
    with pytest.raises(SkipPartError, match="no such dtype here"):
        table1(bench, "paper")


def test_nothing_in_common_is_a_failure(tmp_path: Path, answering: Callable[[Answer], list[str]]) -> None:
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
    checking._pytest(bench, str(tmp_path / "test_one.py"), "-o", "junit_logging=all")
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
    checking.probe(bench)
    assert bench.summary["executes"] is False
