"""`train`, `evaluate` and `export`: what they print, what they write, and how each bad input ends."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nas_client.train.run as training
from models.spec.errors import ExitCode
from nas_client.cli.arguments import INTERRUPTED
from nas_client.runs.manifest import begin_run
from nas_client.train.folder import EpochRecord, TrainResult
from tests.support.client_command import Command
from tests.support.fake_service import SPACE, FakeService, network_ms, serving
from tests.support.toy_space import ToySpace
from tests.support.trainings import small_architecture

TOY = ToySpace.from_spec(SPACE).sample(np.random.default_rng(0))
SMALL = {
    "data": {"image_size": [64, 64], "train_images": 8, "val_images": 2},
    "crop": [32, 64],
    "batch_size": 4,
    "epochs": 2,
    "label_stride": 8,
}


@pytest.fixture
def arguments(tmp_path: Path) -> list[object]:
    """Of a training: the architecture, and a configuration."""
    return ["--architecture", architecture(tmp_path / "student.json"), "--config", written(tmp_path / "config.yaml", SMALL)]


def architecture(path: Path, *ends: int, **changes: Any) -> Path:
    return written(path, json.loads(small_architecture(*ends).model_copy(update=changes).model_dump_json()))


def written(path: Path, document: object) -> Path:
    path.write_text(json.dumps(document))  # JSON is YAML
    return path


def refused(command: Command, *arguments: object) -> str:
    """The message of a refusal that gives a document, too."""
    ended = command(*arguments, "--json")
    assert ended.code == ExitCode.BAD_INPUT
    assert "Traceback" not in ended.err
    message: str = ended.document["error"]["message"]
    assert message in ended.err
    assert ended.document["error"]["hint"]
    return message


def test_teacher_student_evaluation_and_export(nas_client: Command, tmp_path: Path, arguments: list[object]) -> None:
    teacher, student, report = tmp_path / "teacher", tmp_path / "student", tmp_path / "report"
    taught = nas_client("train", *arguments, "-o", teacher, "--architecture", architecture(tmp_path / "t.json", 16, 32))
    assert taught.code == ExitCode.DONE
    assert "2 epochs, 4 steps" in taught.out
    assert "epoch 2/2: loss" in taught.err

    trained = nas_client("train", *arguments, "-o", student, "--teacher", teacher, "--set", "optimizer.lr=0.02", "--json")
    result = TrainResult.parse(trained.document)
    assert result.finished
    assert "distillation" in trained.err

    evaluated = nas_client("evaluate", "--run", student, "--split", "test", "-o", report, "--json")
    assert evaluated.code == ExitCode.DONE
    assert evaluated.document["architecture"] == small_architecture().key()
    assert evaluated.document["speed"] is None
    assert {path.name for path in report.iterdir()} == {"run.json", "evaluation.json", "confusion.csv", "predictions.png"}
    assert json.loads((report / "evaluation.json").read_text()) == evaluated.document
    shown = nas_client("evaluate", "--run", student, "--weights", "final")
    assert "final weights, on 2 images of the val split of synthetic_streets" in shown.out
    assert "multiply-adds" in shown.out
    assert "FPS" not in shown.out

    exported = nas_client("export", "--run", student, "-o", tmp_path / "network.onnx", "--json")
    assert exported.document["error"] < 1e-4
    assert (tmp_path / "network.onnx").stat().st_size > 1000


def test_speed_is_what_the_service_measured(nas_client: Command, tmp_path: Path) -> None:
    run = tmp_path / "run"
    toy, config = written(tmp_path / "toy.json", TOY.model_dump(mode="json")), written(tmp_path / "config.yaml", SMALL)
    assert nas_client("train", "--architecture", toy, "--config", config, "-o", run).code == ExitCode.DONE
    service = FakeService()
    with serving(service) as url:
        evaluated = nas_client("evaluate", "--run", run, "--url", url, "--json")
        assert evaluated.document["speed"]["fps"] == pytest.approx(1000 / network_ms(TOY))
        service.failing.add(TOY.key())
        failed = nas_client("evaluate", "--run", run, "--url", url)
    assert failed.code == ExitCode.WORKLOADS_FAILED
    assert "pixel accuracy" in failed.out
    assert "FPS" not in failed.out
    assert "could not be measured: out_of_memory" in failed.err


def test_a_stopped_training_goes_on_without_being_told_what_it_is(
    nas_client: Command, tmp_path: Path, arguments: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    tell = training.Training._end_epoch

    def interrupted(self: training.Training, began: float) -> EpochRecord:
        os.kill(os.getpid(), signal.SIGINT)
        return tell(self, began)

    with monkeypatch.context() as patched:
        patched.setattr(training.Training, "_end_epoch", interrupted)
        stopped = nas_client("train", *arguments, "-o", run, "--json")
    assert stopped.code == INTERRUPTED
    assert (stopped.document["finished"], stopped.document["steps"]) == (False, 3)
    assert "stopped and saved after step 3" in stopped.err
    resumed = nas_client("train", "-o", run, "--resume", "--json")
    assert (resumed.code, resumed.document["finished"], resumed.document["steps"]) == (ExitCode.DONE, True, 4)


def test_what_cannot_be_trained_is_refused(nas_client: Command, tmp_path: Path, arguments: list[object]) -> None:
    train = ["train", "-o", tmp_path / "run", *arguments]
    assert "epoch: there is no such field" in refused(nas_client, *train, "--set", "epoch=3")
    assert "data set 'kitti'" in refused(nas_client, *train, "--set", "data.name=kitti")
    assert "cityscapes needs the folder" in refused(nas_client, *train, "--set", "data.name=cityscapes")
    assert "holds no training to resume" in refused(nas_client, *train, "--resume")
    assert "there is no run.json" in refused(nas_client, *train, "--teacher", tmp_path)
    eleven = architecture(tmp_path / "eleven.json", classes=11)
    assert "architecture has 11" in refused(nas_client, *train, "--architecture", eleven)
    assert not (tmp_path / "run").exists()


def test_options_that_belong_together(nas_client: Command, tmp_path: Path, arguments: list[object]) -> None:
    alone = nas_client("train", "-o", tmp_path / "run")
    assert alone.code == ExitCode.USAGE
    assert "--architecture is needed" in alone.err
    half = nas_client("train", "-o", tmp_path / "run", *arguments, "--supernet", tmp_path)
    assert half.code == ExitCode.USAGE
    assert "--supernet and --table go together" in half.err
    idle = nas_client("train", "-o", tmp_path / "run", *arguments, "--role", "teacher")
    assert idle.code == ExitCode.USAGE
    assert "--role belongs to --supernet" in idle.err


def test_a_divergence_is_said_and_told_from_bad_input(nas_client: Command, tmp_path: Path, arguments: list[object]) -> None:
    wild = [f"--set=optimizer.{name}" for name in ("lr=10", "weight_decay=1", "clip_norm=null")]
    ended = nas_client("train", "-o", tmp_path / "run", *arguments, *wild, "--set", "epochs=60", "--json")
    assert ended.code == ExitCode.WORKLOADS_FAILED
    message = ended.document["error"]["message"]
    assert re.search(r"training epoch \d+, step \d: the loss '\w+' is (nan|inf)", message)
    assert "smaller learning rate" in ended.document["error"]["hint"]


def test_what_was_not_trained_cannot_be_evaluated_or_exported(nas_client: Command, tmp_path: Path) -> None:
    assert "there is no run.json" in refused(nas_client, "evaluate", "--run", tmp_path)
    assert "there is no run.json" in refused(nas_client, "export", "--run", tmp_path, "-o", tmp_path / "x.onnx")
    begin_run(tmp_path, "training")
    architecture(tmp_path / "architecture.json")
    assert "no such checkpoint" in refused(nas_client, "evaluate", "--run", tmp_path)
