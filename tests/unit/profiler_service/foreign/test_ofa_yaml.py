"""YAML tables of Once-for-All and ProxylessNAS."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.spec.errors import TableFileError, UnknownNameError, UnsafeTableError
from profiler_service.foreign.foreign_table import ForeignFormat, read_foreign

STEM = "Conv-input:224x224x3-output:112x112x24"
BLOCK = "expanded_conv-input:112x112x24-output:56x56x32-expand:72-kernel:5-stride:2-idskip:0-se:0-hs:1"
OFA = f"""\
{STEM}:
  count: 500
  mean: 0.75
  std: 0.01
{BLOCK}:
  count: 490
  mean: 1.5e0
  std: 0.02
AvgPool2D-input:7x7x1152-output:1x1x1152: {{count: 5, mean: 0.25, std: 0}}
Conv_2-input:1x1x1152-output:1x1x1536: {{mean: 0.5}}
Logits-input:1x1x1536-output:1000: {{mean: 0.625}}
"""
PROXYLESS = """\
Conv_1-input:7x7x320-output:7x7x1280: {count: 982, mean: 3.5, var: 0.2}
expanded_conv-input:112x112x16-output:56x56x32-expand:3-kernel:7-stride:2-idskip:0: {count: 982, mean: 7.5, var: 0.5}
"""


def file_with(tmp_path: Path, content: str | bytes) -> Path:
    path = tmp_path / "table.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_a_table_by_its_own_keys(tmp_path: Path) -> None:
    table = read_foreign(file_with(tmp_path, OFA))
    assert (table.format, table.device, len(table.entries)) == (ForeignFormat.OFA_YAML, "", 5)
    block = table.lookup(BLOCK)
    assert (block.type, block.ms, block.row) == ("expanded_conv", 1.5, 5)
    assert block.statistics == {"count": 490, "mean": 1.5, "std": 0.02}
    with pytest.raises(UnknownNameError) as raised:
        table.lookup(BLOCK.replace("kernel:5", "kernel:7"))
    assert BLOCK in raised.value.hint


def test_a_table_of_proxylessnas(tmp_path: Path) -> None:
    table = read_foreign(file_with(tmp_path, PROXYLESS))
    assert [entry.ms for entry in table.entries] == [3.5, 7.5]
    assert table.entries[0].statistics["var"] == 0.2


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("MaxPool-input:7x7x8-output:1x1x8: {mean: 1}", "row 12: key 'MaxPool-input:7x7x8-output:1x1x8' is not understood"),
        (f"{STEM}-kernel:3: {{mean: 1}}", "row 12: key"),
        ("Conv-input:7x7x8-output:1x1x8: 0.5", "row 12: the file does not have the form"),
        ("Conv-input:7x7x8-output:1x1x8: {mean: {a: 1}}", "row 12: the file does not have the form"),
        ("Conv-input:7x7x8-output:1x1x8: [1, 2]", "row 12: the file does not have the form"),
        ("Conv-input:7x7x8-output:1x1x8: {count: 4}", "row 12: 'Conv-input:7x7x8-output:1x1x8' has no mean"),
        ("Conv-input:7x7x8-output:1x1x8: {mean: 1, median: 2}", "row 12: statistic 'median'"),
        ("Conv-input:7x7x8-output:1x1x8: {mean: 1, mean: 2}", "row 12: 'Conv-input:7x7x8-output:1x1x8' has mean twice"),
        ("Conv-input:7x7x8-output:1x1x8:\n  count: 3\n  mean: 0", "row 14, column 'mean': the value is 0"),
        ("Conv-input:7x7x8-output:1x1x8: {mean: -1}", "row 12, column 'mean': the value is -1"),
        ("Conv-input:7x7x8-output:1x1x8: {mean: .nan}", "row 12, column 'mean': the value is not a number (NaN)"),
        ("Conv-input:7x7x8-output:1x1x8: {mean: -.inf}", "row 12, column 'mean': the value is infinite"),
        ("Conv-input:7x7x8-output:1x1x8: {mean: fast}", "row 12, column 'mean': 'fast' is not a number"),
        ("Conv-input:7x7x8-output:1x1x8: {mean: 1, std: -1}", "row 12, column 'std': -1 cannot be"),
        (f"{STEM}: {{mean: 0.5}}", f"row 12, column 'mean': {STEM} takes 0.5 ms here and 0.75 ms in row 1"),
        ("Conv-input:7x7x8-output:1x1x8: &a {mean: 1}", "row 12: anchors and aliases"),
        ("---\na: 1", "row 12: a second document"),
        ("{{{", "row 1"),
    ],
)
def test_what_is_not_understood_is_named_by_row(tmp_path: Path, line: str, says: str) -> None:
    with pytest.raises(TableFileError) as raised:
        read_foreign(file_with(tmp_path, f"{OFA}{line}\n"))
    assert says in raised.value.message
    assert raised.value.hint


def test_a_key_twice_with_the_same_value(tmp_path: Path) -> None:
    table = read_foreign(file_with(tmp_path, f"{OFA}{STEM}: {{mean: 0.75}}\n"))
    assert len(table.entries) == 5
    assert [(repeat.row, repeat.first_row, repeat.key) for repeat in table.repeats] == [(12, 1, STEM)]


def test_a_constant_table(tmp_path: Path) -> None:
    keys = (f"Conv-input:7x7x{n}-output:7x7x{n}" for n in range(3))
    with pytest.raises(TableFileError, match="rows 1 to 3, column 'mean': all 3 values are 2; a constant table"):
        read_foreign(file_with(tmp_path, "".join(f"{key}: {{mean: 2}}\n" for key in keys)))


def test_no_object_is_made(tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    text = f"Conv-input:7x7x8-output:1x1x8: !!python/object/apply:os.mkdir ['{trap}']\n"
    with pytest.raises(UnsafeTableError, match=r"row 1: the tag 'tag:yaml\.org,2002:python/object/apply:os\.mkdir'"):
        read_foreign(file_with(tmp_path, text))
    assert not trap.exists()


DEEP = (b"[" * 100_000, b"a: " * 50_000)


@pytest.mark.parametrize("content", [b"hello", b"- a\n- b\n", b"a: b", b"#nothing\n", b"\xff\xfe", *DEEP])
def test_files_that_are_no_table(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(TableFileError) as raised:
        read_foreign(file_with(tmp_path, content))
    assert str(tmp_path / "table.yaml") in raised.value.message
    assert raised.value.hint


def test_a_pointer_in_place_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(TableFileError, match="Git LFS pointer"):
        read_foreign(file_with(tmp_path, "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"))


def test_more_operators_than_a_table_may_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.spec.limits.MAX_TABLE_ENTRIES", 1)
    with pytest.raises(TableFileError, match="more than 1 operators"):
        read_foreign(file_with(tmp_path, OFA))
