"""M-FasterSeg through every command, against the real application, whose runner writes down computed times."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from models.spec.errors import ExitCode
from models.spec.table_files import TableFormat, read_table, write_table
from models.spec.tables import Table
from tests.integration.test_client_with_service import command_fixture, url
from tests.support.client_command import Command
from tests.support.one_thread import one_thread_fixture

__all__ = ["command_fixture", "one_thread_fixture", "url"]

SPACE = ("--space", "mfasterseg", "--input-size", "64x64")
SMALL = ("layers=3", "base_channels=3", "widths=4,8")
DATA = "{image_size: [64, 64], train_images: 4, val_images: 2, cache: true}"
SEARCH = f"""\
data: {DATA}
image_scale: 1.0
label_stride: 8
pretrain: {{epochs: 0}}
search: {{epochs: 1, batch_size: 2, crop: [32, 32]}}
evaluation: {{statistics_batches: 1}}
"""
TRAINING = f"""\
data: {DATA}
crop: [32, 32]
batch_size: 2
epochs: 1
label_stride: 8
losses: {{teacher_temperature: 2.0}}
"""


@pytest.mark.slow
def test_every_command_works(nas_client: Command, url: str, tmp_path: Path) -> None:
    def done(*arguments: object) -> str:
        ended = nas_client(*arguments)
        assert ended.code == ExitCode.DONE, ended.err
        return ended.out

    for name, text in {"search.yaml": SEARCH, "train.yaml": TRAINING}.items():
        (tmp_path / name).write_text(text)
    table, runs = tmp_path / "table.parquet", tmp_path / "runs"
    parameters = [word for parameter in SMALL for word in ("--parameter", parameter)]
    done("profile", "--url", url, *SPACE, *parameters)
    done("pull", "--url", url, "-o", table)
    attention = [entry for entry in read_table(table).entries if entry.workload.kind == "adaptive_attention"]
    assert len(attention) == 5  # three ends of branches, and one, two or three of them fused; the first two are alike at 1/8
    done("sensitivity", "--table", table)

    done("search", "--table", table, "--config", tmp_path / "search.yaml", "-o", runs / "search")
    logits = ("--table", table, "--parameters", runs / "search" / "parameters-student.json")
    done("loss", *logits)
    student, teacher = runs / "student.json", runs / "search" / "teacher.json"
    done("derive", *logits, "--branches", "8,32", "--exact", "-o", student)  # all cells: the supernet has weights for each
    assert json.loads(student.read_text())["parameters"]["branch_attention"] == 1
    done("estimate", "--table", table, "--architecture", student)
    done("draw", "--architecture", student, "-o", runs / "student.svg")
    assert "adaptive attention" in (runs / "student.svg").read_text()

    train = ("--config", tmp_path / "train.yaml")
    done("train", "--architecture", teacher, *train, "-o", runs / "teacher")
    taught = ("--teacher", runs / "teacher", "--supernet", runs / "search", "--table", table)
    done("train", "--architecture", student, *train, *taught, "-o", runs / "student")
    done("evaluate", "--run", runs / "student", "--url", url, "-o", runs / "evaluation")
    done("validate", "--url", url, *SPACE, "--architectures", 8, "-o", runs / "validation")
    done("report", runs, "-o", tmp_path / "report.html")
    assert "mfasterseg" in (tmp_path / "report.html").read_text(encoding="utf-8")

    # A table without attention, such as one of FasterSeg's grid under this name, is no table of this space.
    found = read_table(table)
    without = Table(info=found.info, entries=tuple(e for e in found.entries if e not in attention))
    write_table(without, tmp_path / "without.arrow", TableFormat.ARROW)
    refused = nas_client("search", "--table", tmp_path / "without.arrow", "-o", runs / "refused")
    assert refused.code != ExitCode.DONE
    told = " ".join(refused.err.split())
    assert f"{len(attention)} operators have no value" in told
    assert "adaptive_attention" in told
    assert "profiler-service profile --space mfasterseg --input-size 64x64" in told
