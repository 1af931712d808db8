"""`foreign`: tables of other projects."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from tests.support.ended import Command
from tests.unit.profiler_service.foreign.test_fbnet_json import OTHER, record
from tests.unit.profiler_service.foreign.test_ofa_yaml import BLOCK, OFA, STEM


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "phone.yaml"
    path.write_text(OFA)
    return path


def test_show(command: Command, table: Path) -> None:
    ended = command("foreign", "show", table, "--limit", 2)
    assert ended.code == 0, ended.err
    assert "phone.yaml: ofa-yaml, 5 entries: " in ended.out
    assert "fastest to slowest 0.25 to 1.5 ms, median 0.625 ms" in ended.out
    assert "… and 3 more" in ended.out
    document = command("foreign", "show", table, "--text", "expanded", "--json").document
    assert [(entry["key"], entry["ms"]) for entry in document["entries"]] == [(BLOCK, 1.5)]
    assert command("foreign", "show", table, "--text", "pool3").code == 3


def test_keys_with_brackets_are_shown_whole(command: Command, tmp_path: Path) -> None:
    path = tmp_path / "ops.json"
    path.write_text("\n".join(json.dumps(line) for line in (record(), OTHER)))
    key = "Int8Dequantize 1x1000 [4] []"
    assert key in command("foreign", "show", path).out
    assert key in command("foreign", "lookup", path, key).out


def test_lookup(command: Command, table: Path) -> None:
    ended = command("foreign", "lookup", table, STEM, BLOCK, "--json")
    assert [entry["ms"] for entry in ended.document["entries"]] == [0.75, 1.5]
    assert STEM in command("foreign", "lookup", table, STEM).out
    ended = command("foreign", "lookup", table, STEM + "0", "--json")
    assert (ended.code, ended.document["error"]["code"]) == (3, "unknown_name")
    assert STEM in ended.document["error"]["hint"]


def test_compare(command: Command, table: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    other.write_text(OFA.replace("mean: 0.75", "mean: 3"))
    ended = command("foreign", "compare", table, other)
    assert "in both 5, only A 0, only B 0" in ended.out
    assert "Kendall 0.8000" in ended.out
    document = command("foreign", "compare", table, other, "--json").document
    assert (document["ratio_max"], document["ratio_median"], document["extremes"][0]["key"]) == (4, 1, STEM)


def test_export(command: Command, table: Path, tmp_path: Path) -> None:
    assert command("foreign", "export", table, "-o", tmp_path / "out.csv").code == 0
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = {row["key"]: row for row in csv.DictReader(file)}
    assert (rows[BLOCK]["ms"], rows[BLOCK]["type"], rows[BLOCK]["count"]) == ("1.5", "expanded_conv", "490.0")
    assert rows["Logits-input:1x1x1536-output:1000"]["std"] == ""
    ended = command("foreign", "export", table, "-o", tmp_path / "out.json", "--format", "json", "--json")
    assert ended.document == {"path": str(tmp_path / "out.json"), "format": "json", "entries": 5}
    assert json.loads((tmp_path / "out.json").read_text())["entries"][1]["statistics"]["std"] == 0.02


def test_an_export_does_not_replace_the_table(command: Command, table: Path) -> None:
    ended = command("foreign", "export", table, "-o", table)
    assert ended.code == 3
    assert table.read_text() == OFA


def test_our_own_tables_are_not_foreign(command: Command, tmp_path: Path) -> None:
    path = tmp_path / "own.json"
    path.write_text('{"opclock_table": 3, "count": 0}')
    ended = command("foreign", "show", path, "--json")
    assert (ended.code, ended.document["error"]["code"]) == (3, "table_file")
