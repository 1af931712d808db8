"""`measure`: what it takes, what it refuses before it measures, and what it prints. Its workers are fakes."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from models.spec.architectures import SpaceSpec
from models.spec.graphs import GraphRequest, OwnNetwork
from models.spec.measurements import Status
from models.spec.scale import Scale
from models.spec.tables import TableInfo
from profiler_service.storage.store import Store
from tests.support.ended import Command
from tests.support.fake_workers import DESCRIPTION, SENTINEL_MS, FakeWorkers
from tests.unit.models.export.test_own_network import model, saved

MODULE = "some.where:Net"
GRAPH = GraphRequest(subject=OwnNetwork(name=MODULE, input_shape=(1, 3, 8, 16)))
GIVEN = (MODULE, "--input", "1x3x8x16", "--budget", "quick")

Use = Callable[[FakeWorkers], FakeWorkers]


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Use:
    """Makes the command use those workers, on a device that no other test holds."""
    monkeypatch.setenv("OPCLOCK_LOCK_DIR", str(tmp_path))

    def set_workers(workers: FakeWorkers) -> FakeWorkers:
        monkeypatch.setattr("profiler_service.cli.measure_network.open_workers", lambda settings: workers)
        return workers

    set_workers(FakeWorkers())
    return set_workers


def test_a_file_is_measured(command: Command, use: Use, tmp_path: Path) -> None:
    path = saved(tmp_path, model())
    ended = command("measure", path, "--budget", "quick", "--json")
    assert ended.code == 0, ended.err
    document = ended.document
    assert document["value_ms"] == pytest.approx(10)
    assert document["network"]["input_shape"] == [1, 3, 8, 16]
    assert (document["checked"], document["reference_ms"]) == (False, None)
    out = command("measure", path, "--budget", "quick").out
    assert "net.onnx 1×3×8×16, on imaginary" in out
    assert "10.0000 ±" in out
    assert "no scale yet" in out
    assert "not checked" in out
    assert not (tmp_path / "opclock.sqlite").exists(), "nothing is stored"


def test_values_are_on_the_scale_of_the_tables(command: Command, use: Use, tmp_path: Path) -> None:
    with Store.open(tmp_path / "opclock.sqlite") as store:
        info = TableInfo(target=DESCRIPTION.target, space=SpaceSpec(name="s", input_size=(64, 64)))
        table_id = store.ensure_table(info)
        store.set_scale(table_id, Scale(reference_ms=2 * SENTINEL_MS, stderr_ms=0.001, visits=9, quiet=9))
    ended = command("measure", *GIVEN, "--json")
    assert ended.document["value_ms"] == pytest.approx(20)
    assert ended.document["plain_ms"] == pytest.approx(10)
    assert "on the scale of this target's tables; 10.0000 ms by the clock" in command("measure", *GIVEN).out


def test_a_network_that_fails_ends_with_4(command: Command, use: Use) -> None:
    use(FakeWorkers(unbuildable={GRAPH.key(): Status.OUT_OF_MEMORY}))
    ended = command("measure", *GIVEN, "--json")
    assert (ended.code, ended.document["status"], ended.document["value_ms"]) == (4, "out_of_memory", None)
    assert "out_of_memory: refused" in command("measure", *GIVEN).out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((MODULE,), "some.where:Net needs --input"),
        ((MODULE, "--input", "3x8x16"), "--input '3x8x16' is not NxCxHxW"),
        ((MODULE, "--input", "1x3x8xw"), "is not NxCxHxW"),
        ((MODULE, "--input", "1x0x8x16"), "input_shape"),
        (("nothing.onnx",), "nothing.onnx cannot be read"),
        (("some where:Net!", "--input", "1x3x8x16"), "neither a file nor package.module:Net"),
    ],
)
def test_what_is_refused_before_anything_starts(command: Command, use: Use, arguments: tuple[str, ...], says: str) -> None:
    workers = use(FakeWorkers())
    ended = command("measure", *arguments)
    assert (ended.code, workers.opened) == (3, 0)
    assert says in ended.err


def test_a_backend_of_modules_takes_no_file(command: Command, use: Use, tmp_path: Path) -> None:
    use(FakeWorkers(description=replace(DESCRIPTION, reads_onnx=False)))
    ended = command("measure", saved(tmp_path, model()))
    assert ended.code == 3
    assert "runs torch modules, not ONNX files" in ended.err
    assert command("measure", *GIVEN).code == 0


def test_layers_are_printed_and_written(command: Command, use: Use, tmp_path: Path) -> None:
    path, folder = saved(tmp_path, model()), tmp_path / "out"
    ended = command("measure", path, "--budget", "quick", "-o", folder)
    assert ended.code == 0, ended.err
    assert "sum of 1 layers: 1.0000 ±" in ended.out
    assert "whole: 10.0000 ms, +9.0000 ms beside the sum, which is 10.0% of it" in ended.out
    header, row = csv.reader((folder / "layers.csv").read_text().splitlines())
    assert dict(zip(header, row, strict=True))["operators"] == "Mul"
    assert float(row[header.index("value_ms")]) == pytest.approx(1)
    assert float(row[header.index("cumulative_share")]) == 1
    assert "Mul" in (folder / "layers.svg").read_text()
    layers = json.loads((folder / "measurement.json").read_text())["layers"]
    assert (layers["nodes"], layers["difference_ms"]) == (1, pytest.approx(9))
    alone = command("measure", path, "--budget", "quick", "--no-layers", "--json").document
    assert (alone["layers"], alone["no_layers"]) == (None, "they were not asked for")


def test_a_verdict_that_is_worse_than_required_ends_with_6(command: Command, use: Use, tmp_path: Path) -> None:
    """Without a scale values are on no common unit."""
    path = saved(tmp_path, model())
    ended = command("measure", path, "--budget", "quick", "--require", "noisy")
    assert ended.code == 6
    assert "verdict: unsettled" in ended.err
    assert command("measure", path, "--budget", "quick", "--require", "unsettled").code == 0


def test_a_scale_that_is_not_settled_is_a_reason(command: Command, use: Use, tmp_path: Path) -> None:
    with Store.open(tmp_path / "opclock.sqlite") as store:
        table_id = store.ensure_table(TableInfo(target=DESCRIPTION.target, space=SpaceSpec(name="s", input_size=(64, 64))))
        store.set_scale(table_id, Scale(reference_ms=SENTINEL_MS, visits=9, quiet=2, unsettled="2 of 9 visits were quiet"))
    ended = command("measure", *GIVEN, "--json", "--require", "trustworthy")
    assert ended.code == 6
    assert ended.document["unsettled"] == "2 of 9 visits were quiet"
    assert "scale unsettled: 2 of 9 visits were quiet" in ended.err


def test_names_from_files_are_no_formulas() -> None:
    from profiler_service.cli.layer_report import _cell

    assert _cell("=1+1") == "'=1+1"
