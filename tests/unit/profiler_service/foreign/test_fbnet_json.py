"""The operator database of FBNet and ChamNet."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from models.spec.errors import TableFileError, UnknownNameError
from profiler_service.foreign.foreign_table import ForeignFormat, read_foreign

KERNEL, STRIDE, WORKSPACE = 'name: "kernel"\ni: 3\n', 'name: "stride"\ni: 2\n', 'name: "ws_nbytes_limit"\ni: 64\n'


def record(**changed: Any) -> dict[str, Any]:
    return {
        "op_type": "Int8ConvRelu",
        "op_args": [KERNEL, STRIDE],
        "input_shapes": [[1, 224, 224, 3], [32, 3, 3, 3], [32]],
        "input_dtypes": [4, 4, 6],
        "runtime_us_p0": 950.0,
        "runtime_us_p10": 955.0,
        "runtime_us_p50": 960,
        "runtime_us_p90": 970.0,
        "runtime_us_p100": 1200.0,
        "device": "Phone 8",
    } | changed


def file_with(tmp_path: Path, *records: dict[str, Any] | str) -> Path:
    path = tmp_path / "op_lut_database.json"
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in records))
    return path


OTHER = record(op_type="Int8Dequantize", op_args=[], input_shapes=[[1, 1000]], input_dtypes=[4], runtime_us_p50=5.0)


def test_microseconds_become_milliseconds_under_a_key_of_what_is_matched(tmp_path: Path) -> None:
    table = read_foreign(file_with(tmp_path, record(), OTHER))
    assert (table.format, table.device) == (ForeignFormat.FBNET_JSON, "Phone 8")
    key = 'Int8ConvRelu 1x224x224x3,32x3x3x3,32 [4,4,6] [name: "kernel" i: 3; name: "stride" i: 2]'
    assert [(entry.key, entry.ms) for entry in table.entries] == [(key, 0.96), ("Int8Dequantize 1x1000 [4] []", 0.005)]
    assert table.lookup(key).statistics["runtime_us_p100"] == 1200


def test_what_is_not_matched_makes_no_other_operator(tmp_path: Path) -> None:
    table = read_foreign(file_with(tmp_path, record(), OTHER, record(op_args=[KERNEL, STRIDE, WORKSPACE])))
    assert [(repeat.row, repeat.first_row) for repeat in table.repeats] == [(3, 1)]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (record(op_args=[], runtime_us_p50=0.0), "row 2, column 'runtime_us_p50': the value is 0"),
        (record(op_args=[], runtime_us_p50=-3.0), "row 2, column 'runtime_us_p50': the value is -3"),
        (record(op_args=[], runtime_us_p50=float("nan")), "row 2, column 'runtime_us_p50': the value is not a number"),
        (record(op_args=[], runtime_us_p90=float("inf")), "row 2, column 'runtime_us_p90': the value is infinite"),
        (record(op_args=[], runtime_us_p50="5"), "row 2: FbnetRecord.runtime_us_p50"),
        (record(runtime_us_p50=961.0), "takes 0.961 ms here and 0.96 ms in row 1"),
        (record(device="Phone 9"), "row 2, column 'device': 'Phone 9' is another device than 'Phone 8' of row 1"),
        (record(energy=1), "row 2: FbnetRecord.energy: there is no such field"),
        ({"conv": 1.0}, "row 2: it is not a record of an operator"),
        ("[1, 2]", "row 2: it is not a record of an operator"),
        ("{", "row 2: it is not a JSON record"),
        ("[" * 100_000, "row 2: it is"),
        ('{"op_type": "a", "op_type": "b"}', "row 2: it is not a JSON record: a field is there twice"),
        (json.dumps(record(op_args=[])).replace("960", "9" * 400), "row 2"),
    ],
)
def test_what_is_not_understood_is_named_by_row(tmp_path: Path, line: dict[str, Any] | str, says: str) -> None:
    with pytest.raises(TableFileError) as raised:
        read_foreign(file_with(tmp_path, record(), line))
    assert says in raised.value.message
    assert raised.value.hint


def test_a_constant_table(tmp_path: Path) -> None:
    lines = [record(op_type=f"Op{n}") for n in range(3)]
    with pytest.raises(TableFileError, match="rows 1 to 3, column 'runtime_us_p50'"):
        read_foreign(file_with(tmp_path, *lines))


def test_a_table_of_names_and_latencies_alone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TableFileError, match="row 1: it is not a record") as raised:
        read_foreign(file_with(tmp_path, {"ir_k3_e1": 0.5, "skip": 0.1}))
    assert "op_type" in raised.value.hint


def test_among_very_many_keys_no_nearest_one_is_looked_for(tmp_path: Path) -> None:
    lines = [record(op_type=f"Op{n}", runtime_us_p50=n + 1) for n in range(2_001)]
    with pytest.raises(UnknownNameError) as raised:
        read_foreign(file_with(tmp_path, *lines)).lookup("Op3")
    assert "--text" in raised.value.hint
