"""`table1`: FasterSeg's comparison of four convolutions, beside the paper's numbers."""

from __future__ import annotations

import pytest

from models.spaces.fasterseg.space import FasterSegSpace
from models.spaces.registry import operator_comparisons
from models.spec.measurements import ProtocolName
from profiler_service.cli import table1
from tests.support.paper_runner import Setup
from tests.unit.profiler_service.cli.conftest import Command


def test_the_command_belongs_to_the_space_that_published() -> None:
    assert operator_comparisons() == {"table1": FasterSegSpace}


def test_what_is_not_measured_is_computed_and_compared(command: Command, failing: Setup) -> None:
    failing(None)
    document = command("table1", "--json").document
    rows = {row["name"]: row for row in document["operators"]}

    assert list(rows) == ["convolution", "grouped (2)", "dilated (2)", "zoomed"]
    assert [round(row["macs"] / 1e9, 2) for row in rows.values()] == [1.21, 0.60, 1.21, 0.30]
    assert [row["paper"]["gflops"] for row in rows.values()] == [1.21, 0.60, 1.10, 0.30]
    assert [round(row["parameters"] / 1e6, 3) for row in rows.values()] == [0.590, 0.295, 0.590, 0.590]
    assert [row["receptive_field"] for row in rows.values()] == [[3, 3], [3, 3], [5, 5], [8, 8]]
    assert [row["relative_field"] for row in rows.values()] == [1, 1, 2, 3.5]
    assert [row["paper"]["receptive_field"] for row in rows.values()] == [1, 1, 2, 2]


def test_only_what_differs_is_explained(command: Command, failing: Setup) -> None:
    failing(None)
    rows = {row["name"]: row for row in command("table1", "--json").document["operators"]}
    assert rows["convolution"]["differs"] == ""
    assert "batch normalisation's 512" in rows["grouped (2)"]["differs"]
    assert "padded by 1 instead of 2" in rows["dilated (2)"]["differs"]
    assert "nearest" in rows["zoomed"]["differs"]


def test_the_explanations_give_the_papers_numbers() -> None:
    """Padding of 1, at dilation 2, loses a pixel on every side; groups without batch normalisation have 0.29 M weights."""
    weights = 256 * 256 * 9
    assert round(weights * 30 * 62 / 1e9, 2) == 1.10
    assert weights / 2 / 1e6 < 0.295


def test_every_protocol_asked_for_has_a_column_and_a_table(command: Command, failing: Setup) -> None:
    failing(None)
    document = command("table1", "--json").document
    assert set(document["tables"]) == {"in_context", "isolated"}
    assert len(set(document["tables"].values())) == 2
    for row in document["operators"]:
        assert [latency["protocol"] for latency in row["latencies"]] == ["in_context", "isolated"]
        assert [latency["value_ms"] for latency in row["latencies"]] == [0.5, 0.5]
        assert row["paper"]["ms"] > 0

    one = command("table1", "--protocol", ProtocolName.ISOLATED.value, "--json").document
    assert list(one["tables"]) == ["isolated"]


def test_people_see_both_numbers_and_the_convention(command: Command, failing: Setup) -> None:
    failing(None)
    ended = command("table1")
    assert ended.code == 0
    times, counts = (line.split() for line in ended.out.splitlines() if line.startswith("zoomed "))
    assert times == ["zoomed", "0.5000", "0.5000", "(0.09)"]
    assert counts == ["zoomed", "0.30", "(0.30)", "0.59", "(0.59)", "8×8", "3.5", "(2)"]
    assert table1.CONVENTION in ended.out


def test_nothing_is_cut_off_on_a_narrow_terminal(command: Command, failing: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(None)
    monkeypatch.setenv("COLUMNS", "80")
    protocols = [part for name in ("in_context", "isolated", "isolated_hot") for part in ("--protocol", name)]
    out = command("table1", *protocols).out
    assert "…" not in out
    assert "isolated_hot" in out
    assert "(0.15)" in out


def test_an_operator_that_fails_is_told_and_ends_with_4(command: Command, failing: Setup) -> None:
    failing(3)
    ended = command("table1")
    assert ended.code == 4
    assert next(line for line in ended.out.splitlines() if line.startswith("convolution ")).split()[1] == "none"
    assert "crashed: conv_bn_relu 256→256 @32×64 /1: its process was killed by SIGSEGV" in ended.out


def test_a_dtype_that_nothing_knows_is_refused(command: Command) -> None:
    ended = command("table1", "--dtype", "float17", "--json")
    assert ended.code == 3
    assert "got 'float17'" in ended.document["error"]["message"]
