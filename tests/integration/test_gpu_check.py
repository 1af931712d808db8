"""The rehearsal of `make gpu-check`, at the smallest size, as a user runs it: interrupted, taken up again, and not repeated."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from models.spec.table_files import read_table
from tests.support.repository import ROOT

TABLE = "table-onnxruntime-float32-in_context"
VALIDATION = "validation-onnxruntime-float32"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def gpu_check(output: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """The command on ONNX Runtime, to its end."""
    return subprocess.run(command_line(output, *arguments), cwd=ROOT, capture_output=True, text=True, check=False)


def command_line(output: Path, *arguments: object) -> list[str]:
    options = ("--rehearse", "--backend", "onnxruntime", "--output", output, *arguments)
    return [sys.executable, "-m", "profiler_service.gpu_check", *map(str, options)]


def parts(*names: str) -> list[str]:
    return [option for name in names for option in ("--part", name)]


def result(output: Path, name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((output / name / "result.json").read_text())
    return document


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a table, first interrupted, then measured to its end."""
    output = tmp_path_factory.mktemp("gpu-check")
    cut_short = gpu_check(output, *parts(TABLE), "--limit", "3")
    assert cut_short.returncode == 75, cut_short.stdout
    assert result(output, TABLE)["outcome"] == "unfinished"
    whole = gpu_check(output, *parts("environment", TABLE))
    assert whole.returncode == 0, whole.stdout
    return output


def test_a_table_is_measured_share_by_share(measured: Path) -> None:
    found = result(measured, TABLE)
    assert [command["name"] for command in found["commands"]][-3:] == ["share-1", "share-2", "export-table"]
    table = read_table(measured / TABLE / "table.parquet")
    assert found["summary"]["entries"] == len(table.values_ms()) > 50
    assert found["summary"]["entries_per_s"] > 0
    assert found["provenance"]["commit"]


def _heed_interrupts() -> None:
    """What a shell starts in the background ignores them, and so does what that starts."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _visits(output: Path) -> set[tuple[object, ...]]:
    """What identifies each visit that the folder's database holds, and when it was made."""
    path = output / "opclock.sqlite"
    if not path.exists():
        return set()
    with suppress(sqlite3.OperationalError), closing(sqlite3.connect(path, timeout=30)) as database:
        return set(database.execute("SELECT graph_key, round, visit, started_at FROM visits"))
    return set()


def test_a_table_that_one_command_measures_goes_on_within_its_share(tmp_path: Path) -> None:
    arguments = (*parts(TABLE), "--shares", "1")
    process = subprocess.Popen(
        command_line(tmp_path, *arguments), cwd=ROOT, stdout=subprocess.PIPE, text=True, preexec_fn=_heed_interrupts
    )
    deadline = time.monotonic() + 120
    while not _visits(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    told, _ = process.communicate(timeout=120)
    assert process.returncode == 130, told
    before = _visits(tmp_path)
    assert before
    assert not (tmp_path / TABLE / "result.json").exists()
    whole = gpu_check(tmp_path, *arguments)
    assert whole.returncode == 0, whole.stdout
    assert [command["name"] for command in result(tmp_path, TABLE)["commands"]] == ["share-1", "export-table"]
    assert before <= _visits(tmp_path), "no visit was forgotten, and none made again; a fast machine may have made them all"


def test_how_much_builds_differ_is_told_share_by_share(measured: Path) -> None:
    told, table = result(measured, TABLE)["summary"]["rebuilds"], read_table(measured / TABLE / "table.parquet")
    assert (told["builds"], told["failed"]) == (3, 0)
    assert told["seconds"] > 0
    assert told["worst_between_builds"] >= told["between_builds"] >= 0 < told["within_a_build"]
    spread = table.info.rebuild_spread
    assert spread is not None
    assert spread.known_keys() < table.by_key.keys()
    # two shares of some 40 operators, less those that cannot be told from nothing
    assert 2 <= told["entries"] == len(spread.entries) <= 4
    assert len({entry.measured_at for entry in spread.entries}) == 2


def test_networks_are_judged_and_everything_is_reported_and_published(measured: Path, tmp_path: Path) -> None:
    ended = gpu_check(measured, *parts(VALIDATION, "report"))
    assert ended.returncode == 0, ended.stdout
    summary = result(measured, VALIDATION)["summary"]
    assert summary["networks"] == 8
    assert set(summary["protocols"]["in_context"]) == {"raw", "calibrated"}
    assert summary["macs"]["pearson"] <= 1
    page = (measured / "report.md").read_text()
    for heading in ("## Checks", "## Tables", "## Builds", "## Networks"):
        assert heading in page
    assert json.loads((measured / "report.json").read_text())["parts"][TABLE]["outcome"] == "done"

    again = gpu_check(measured, *parts("environment", TABLE, VALIDATION))
    assert again.returncode == 0
    assert again.stdout.count("(before)") == 3

    refused = gpu_check(measured, *parts("publish"), "--tables", tmp_path)
    assert refused.returncode == 4
    assert "space parameters other than the defaults" in refused.stdout
    assert list(tmp_path.rglob("*.parquet")) == []


def test_processes_are_compared_with_each_other(measured: Path) -> None:
    ended = gpu_check(measured, *parts("repeatability-onnxruntime", "clocks-onnxruntime"))
    assert ended.returncode == 0, ended.stdout
    summary = result(measured, "repeatability-onnxruntime")["summary"]
    assert set(summary["pairs"]) == {"1-2", "1-3", "2-3"}
    assert {pair["common"] for pair in summary["pairs"].values()} == {8}
    assert summary["median_relative_difference"] >= 0
    checks = {check["name"] for check in result(measured, "clocks-onnxruntime")["checks"]}
    assert checks == {"float32: floor", "float32: twice the product", "float32: independent clock"}


@pytest.mark.parametrize(
    "called", [("-m", "scripts.gpu_check"), ("-c", "from profiler_service.cli.main import main; main()", "gpu-check")]
)
def test_every_way_to_call_it_lists_the_parts(measured: Path, called: tuple[str, ...]) -> None:
    command = [sys.executable, *called, "--rehearse", "--list", "--output", str(measured)]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert listed.returncode == 0, listed.stderr
    assert any(line.startswith(TABLE) and " done " in line for line in listed.stdout.splitlines())


def test_what_needs_a_gpu_says_so(measured: Path) -> None:
    ended = gpu_check(measured, *parts("probe-tensorrt-rtx", "clocks-devices", "contract-devices"))
    assert ended.returncode == 0
    assert ended.stdout.count("this part needs a GPU") == 3


def test_every_part_heeds_the_settings_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPCLOCK_THREADS", "2")
    ended = gpu_check(tmp_path, *parts("contract-onnxruntime", "clocks-onnxruntime"))
    assert ended.returncode == 0, ended.stdout
    target = json.loads((tmp_path / "clocks-onnxruntime" / "clocks.json").read_text())["target"]
    assert target["threads"] == 2
    assert result(tmp_path, "contract-onnxruntime")["provenance"]["OPCLOCK_THREADS"] == "2"
    monkeypatch.delenv("OPCLOCK_THREADS")
    other = gpu_check(tmp_path, *parts("clocks-onnxruntime"))
    assert other.returncode == 3
    assert "settings: ['OPCLOCK_THREADS=2'] there, [] now" in other.stdout


def test_other_choices_need_another_folder(measured: Path) -> None:
    ended = gpu_check(measured, *parts(TABLE), "--input-size", "128x256")
    assert ended.returncode == 3
    assert "input_size: 64x64 there, 128x256 now" in ended.stdout
