"""`entries`, `lint`, `samples` and `export-samples`."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from models.spec.graphs import ContextBase, GraphRequest
from models.spec.measurements import Flag, Measurement
from models.spec.operators import OperatorSpec
from models.spec.scale import Scale
from models.spec.table_files import TableFormat, write_table
from models.spec.tables import Table
from profiler_service.measure.visits import DeviceState, Visit
from profiler_service.raw_data import column_names
from profiler_service.storage.store import Store
from tests.support import table_samples
from tests.unit.profiler_service.cli.conftest import Command

AT = datetime(2030, 1, 1, tzinfo=UTC)
SMALL = OperatorSpec(kind="conv3x3", in_channels=8, out_channels=8, height=16, width=32)
LARGE = SMALL.model_copy(update={"out_channels": 16})
SLOW = OperatorSpec(kind="conv3x3_x2", in_channels=8, out_channels=8, height=16, width=32, stride=2)
NETWORK = table_samples.architecture("conv3x3", "skip")
BASE = GraphRequest(subject=ContextBase.of(SMALL)).key()


def in_context(operator: OperatorSpec) -> str:
    return GraphRequest(subject=operator, in_context=True).key()


def visits(graph_key: str, times_ms: tuple[float, ...], device: DeviceState | None = None) -> list[Visit]:
    return [
        Visit(
            graph_key=graph_key,
            round=number,
            visit=0,
            samples_ms=(ms - 0.0625, ms, ms + 0.0625),
            sentinel_ms=0.5,
            passes=3,
            accepted=number != 1,
            started_at=AT + timedelta(seconds=number),
            device=device,
        )
        for number, ms in enumerate(times_ms)
    ]


@pytest.fixture
def table_id(command: Command, tmp_path: Path) -> str:
    """A table whose larger operator takes less time, with all its visits, and one of a graph that nobody knows."""
    entries = (
        Measurement(workload=SMALL, value_ms=1.0, stderr_ms=0.005, rounds=4),
        Measurement(workload=LARGE, value_ms=0.5, stderr_ms=0.005, rounds=4, flags=(Flag.UNCONVERGED,)),
        Measurement(workload=SLOW, value_ms=3.0, stderr_ms=0.01, rounds=4),
    )
    with Store.open(tmp_path / "opclock.sqlite") as store:
        table_id = store.import_table(Table(info=table_samples.info(scale=Scale(reference_ms=1.0)), entries=entries))
        store.save_measurement(table_id, Measurement(workload=NETWORK, value_ms=9.0))
        device = DeviceState(clock_before_mhz=1980.0, clock_after_mhz=1965.0, set_aside=2, reasons=("power_cap",))
        for key, times in ((in_context(SMALL), (0.75,) * 4), (in_context(LARGE), (0.5,) * 4), (BASE, (0.25,) * 4)):
            store.save_visits(table_id, visits(key, times))
        store.save_visits(table_id, visits(GraphRequest(subject=NETWORK).key(), (4.5,), device))
        store.save_visits(table_id, visits("unknown", (1.0,)))
    return table_id


def test_entries_are_listed_with_their_errors_and_flags(command: Command, table_id: str) -> None:
    text = command("entries", table_id).out
    assert "1.0000 ± 0.0050" in text
    assert "unconverged" in text
    assert SLOW.key() in text
    assert "3 of 3 entries" in text


def test_a_narrow_terminal_does_not_cut_keys(command: Command, table_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    text = command("entries", table_id).out
    assert all(entry.key() in text and entry.label() in text for entry in (SMALL, LARGE, SLOW))


@pytest.mark.parametrize(
    ("options", "listed"),
    [
        (["--kind", "conv3x3"], [LARGE, SMALL]),
        (["--stride", "2"], [SLOW]),
        (["--in-channels", "4"], []),
        (["--label", "CONV3X3_X2"], [SLOW]),
        (["--flag", "unconverged"], [LARGE]),
        (["--sort", "value"], [SLOW, SMALL, LARGE]),
        (["--sort", "stderr", "--limit", "1"], [SLOW]),
        (["--sort", "macs"], [LARGE, SMALL, SLOW]),
        (["--sort", "ms-per-gmac", "--limit", "1"], [SLOW]),
    ],
)
def test_entries_that_fit_in_the_order_asked_for(
    command: Command, table_id: str, options: list[str], listed: list[OperatorSpec]
) -> None:
    document = command("entries", table_id, *options, "--json").document
    assert [entry["label"] for entry in document["listed"]] == [operator.label() for operator in listed]
    assert document["entries"] == 3


def test_an_unknown_kind_offers_the_nearest(command: Command, table_id: str) -> None:
    ended = command("entries", table_id, "--kind", "conv3x")
    assert ended.code == 3
    assert "conv3x3" in ended.err


def test_entries_of_a_file(command: Command, table_id: str) -> None:
    command("export", "--table", table_id, "--format", "csv", "-o", "t.csv")
    assert command("entries", "t.csv", "--json").document["matching"] == 3


def test_lint_finds_what_falls_and_repeats(command: Command, table_id: str) -> None:
    ended = command("lint", table_id, "--fail-on", "inversions")
    assert ended.code == 7
    assert f"{SMALL.label()}" in ended.out
    assert "-50.0%" in ended.out
    assert "3 of 3" in ended.out, "the round that was not accepted does not count"


def test_lint_of_a_file_says_that_repetition_cannot_be_told(command: Command, table_id: str) -> None:
    command("export", "--table", table_id, "--format", "csv", "-o", "t.csv")
    ended = command("lint", "t.csv")
    assert ended.code == 0
    assert "unknown whether the inversions repeat" in ended.out
    (found,) = command("lint", "t.csv", "--json").document["inversions"]
    assert (found["grows"], found["rounds"], found["repeats"]) == ("out_channels", None, None)


def test_lint_cannot_judge_values_without_errors(command: Command, tmp_path: Path) -> None:
    entries = tuple(Measurement(workload=operator, value_ms=ms) for operator, ms in ((SMALL, 1.0), (LARGE, 0.5)))
    write_table(Table(info=table_samples.info(), entries=entries), tmp_path / "t.json", TableFormat.JSON)
    ended = command("lint", "t.json", "--fail-on", "inversions")
    assert ended.code == 3
    assert "can be tested" in ended.out


def test_samples_of_an_entry_by_the_beginning_of_its_key(command: Command, table_id: str) -> None:
    document = command("samples", table_id, SMALL.key()[:8], "--json").document
    assert (document["label"], document["reference_ms"]) == (SMALL.label(), 1.0)
    # In sentinel units of 1 ms, where the sentinel took 0.5 ms: (0.75 − 0.25) · 2
    assert [round_["value_ms"] for round_ in document["rounds"]] == [1.0] * 4
    assert [round_["plain_ms"] for round_ in document["rounds"]] == [0.5] * 4
    assert [visit["role"] for visit in document["visits"]] == ["operator"] * 4 + ["base"] * 4
    assert document["visits"][0]["visit"]["samples_ms"] == [0.6875, 0.75, 0.8125]

    text = command("samples", table_id, SMALL.key()).out
    assert "value 1.0000 ± 0.0050 ms" in text
    assert "not accepted" in text


def test_samples_of_a_network_tell_of_the_device(command: Command, table_id: str) -> None:
    document = command("samples", table_id, NETWORK.key(), "--json").document
    assert [visit["role"] for visit in document["visits"]] == ["network"]
    assert "2 samples set aside" in command("samples", table_id, NETWORK.key()).out


def test_samples_need_one_key(command: Command, table_id: str) -> None:
    ended = command("samples", table_id, "zz")
    assert (ended.code, "'zz'" in ended.err) == (3, True)
    ended = command("samples", table_id, "")
    assert ended.code == 3
    assert "4 entries" in ended.err


@pytest.mark.parametrize("arguments", [("samples", "t.csv", "a"), ("export-samples", "t.csv")])
def test_files_have_no_samples(command: Command, table_id: str, arguments: tuple[str, ...]) -> None:
    ended = command(*arguments)
    assert ended.code == 3
    assert "t.csv is a file" in ended.err


def test_all_samples_as_parquet(command: Command, table_id: str) -> None:
    document = command("export-samples", table_id, "-o", "s.parquet", "--json").document
    assert document["visits"] == 14
    table = pq.read_table("s.parquet")
    assert table.column_names == column_names()
    rows = table.to_pylist()
    own = [row for row in rows if row["workload_key"] == SMALL.key()]
    assert [row["round"] for row in own] == [0, 1, 2, 3]
    assert own[0]["samples_ms"] == [0.6875, 0.75, 0.8125]
    assert (own[0]["role"], own[0]["started_at"], own[1]["accepted"]) == ("operator", AT, False)
    assert {row["label"] for row in rows if row["role"] == "base"} == {ContextBase.of(SMALL).label()}
    (network,) = [row for row in rows if row["role"] == "network"]
    assert (network["device_set_aside"], network["device_reasons"], network["host_load"]) == (2, ["power_cap"], None)
    (unknown,) = [row for row in rows if row["graph_key"] == "unknown"]
    assert (unknown["role"], unknown["workload_key"]) == (None, None)
    metadata = json.loads(table.schema.metadata[b"opclock_samples"])
    assert (metadata["version"], metadata["table_id"]) == (1, table_id)


def test_a_table_of_any_size_is_written_a_few_graphs_at_a_time(
    command: Command, table_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Store.open(tmp_path / "opclock.sqlite") as store:
        for number in range(200):
            store.save_visits(table_id, visits(f"graph-{number:03}", (1.0,)))
    asked: list[int] = []
    load = Store.visits

    def counting(store: Store, table_id: str, graph_keys: list[str]) -> list[Visit]:
        asked.append(len(graph_keys))
        return load(store, table_id, graph_keys)

    monkeypatch.setattr(Store, "visits", counting)
    assert command("export-samples", table_id, "-o", "s.parquet", "--json").document["visits"] == 214
    assert max(asked) <= 64
    assert sum(asked) == 205


def test_a_table_without_visits_has_no_samples_to_export(command: Command, tmp_path: Path) -> None:
    write_table(table_samples.table(), tmp_path / "t.json", TableFormat.JSON)
    imported = command("import", "t.json", "--json").document["table_id"]
    ended = command("export-samples", imported, "-o", "s.parquet")
    assert ended.code == 3
    assert "has no visits" in ended.err
    assert not Path("s.parquet").exists()


def test_samples_that_cannot_be_written_leave_nothing(command: Command, table_id: str) -> None:
    ended = command("export-samples", table_id, "-o", "no/such/s.parquet")
    assert ended.code == 3
    assert "s.parquet" in ended.err
