"""Whole trainings in this process, on scenes of 64×64."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from models.networks.module import Network
from models.spec.errors import InvalidSpecError
from nas_client.data.base import CheckProgress
from nas_client.data.datasets import SyntheticStreets, open_dataset
from nas_client.data.transforms import EvaluationTransform
from nas_client.errors import CheckpointError, DatasetError, DivergenceError, RunFolderError, TrainingError
from nas_client.runs.config import read_config
from nas_client.runs.journal import read_journal
from nas_client.train.config import TrainConfig
from nas_client.train.data import TrainingData
from nas_client.train.evaluation import evaluate
from nas_client.train.folder import (
    EpochRecord,
    Trained,
    TrainResult,
    load_trained,
    read_architecture,
    read_result,
    read_train_config,
)
from nas_client.train.losses import distillation
from nas_client.train.networks import TrainableNetwork
from nas_client.train.predictions import Predictor, confusion
from nas_client.train.run import train
from nas_client.train.weights import copy_of
from tests.support.data_layouts import write_folder
from tests.support.trainings import small_architecture, small_config

STUDENT, TEACHER = small_architecture(8, 32), small_architecture(16, 32)
CONFIG = small_config()


@pytest.fixture(scope="module")
def data() -> TrainingData:
    return TrainingData.open(CONFIG)


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory, data: TrainingData) -> Trained:
    """A teacher."""
    folder = tmp_path_factory.mktemp("teacher") / "run"
    train(TEACHER, CONFIG, folder, data=data)
    return load_trained(folder)


def _records(folder: Path) -> list[dict[str, Any]]:
    """The journal, without what differs from run to run."""
    return [record.model_dump(exclude={"seconds"}) for record in read_journal(folder, EpochRecord)]


def _same_weights(first: Path, second: Path) -> bool:
    pairs = ((load_trained(folder, name).weights for folder in (first, second)) for name in ("best", "final"))
    return all(one.keys() == two.keys() and all(torch.equal(one[n], two[n]) for n in one) for one, two in pairs)


def _stopping(after: int) -> Callable[[EpochRecord], None]:
    """Asks this process to end once that many epochs are done: the next one gets a single step."""

    def watch(record: EpochRecord) -> None:
        if record.epoch == after:
            os.kill(os.getpid(), signal.SIGTERM)

    return watch


def test_a_training_leaves_all_that_is_needed_to_use_it(tmp_path: Path, data: TrainingData) -> None:
    seen: list[EpochRecord] = []
    result = train(STUDENT, CONFIG, tmp_path / "run", data=data, watch=seen.append)
    assert result == read_result(tmp_path / "run")
    assert (result.finished, result.epochs, result.steps) == (True, 3, 6)
    assert read_architecture(tmp_path / "run") == STUDENT
    assert read_train_config(tmp_path / "run") == CONFIG
    assert read_journal(tmp_path / "run", EpochRecord) == seen
    assert [(record.epoch, record.steps) for record in seen] == [(1, 2), (2, 4), (3, 6)]
    assert seen[0].lr == pytest.approx(0.05 * (1 - 1 / 6) ** 0.9)
    assert seen[0].loss == pytest.approx(seen[0].segmentation + seen[0].auxiliary)
    assert seen[0].auxiliary > 0 == seen[0].distillation
    assert any((tmp_path / "run" / "tensorboard").iterdir())


def test_best_and_final_weights_are_those_that_were_validated(tmp_path: Path, data: TrainingData) -> None:
    result = train(STUDENT, small_config(epochs=4), tmp_path, data=data)
    records = read_journal(tmp_path, EpochRecord)
    ious = [record.validation.mean_iou for record in records if record.validation is not None]
    assert result.best_epoch == 1 + ious.index(max(ious))
    assert [record.best for record in records] == [iou > max(ious[:i], default=-1) for i, iou in enumerate(ious)]
    for name, metrics in (("best", result.best), ("final", result.final)):
        trained = load_trained(tmp_path, name)
        assert confusion(Predictor(STUDENT, trained.weights, torch.device("cpu")), data.val).metrics() == metrics


def test_no_auxiliary_head_is_left_in_what_was_trained(tmp_path: Path, data: TrainingData) -> None:
    train(STUDENT, small_config(epochs=1), tmp_path, data=data)
    weights = load_trained(tmp_path).weights
    assert weights.keys() == TrainableNetwork(STUDENT, (64, 64), auxiliary=True).network.state_dict().keys()


EVERYTHING = {
    "averaging": 0.8,
    "changes": {"validation.statistics_batches": 2, "validation.every": 2, "data.cache": False},
    "label_stride": 4,
}


@pytest.mark.parametrize("settings", [{}, EVERYTHING], ids=["plain", "everything"])
def test_an_interrupted_training_ends_in_the_same_weights(
    settings: dict[str, Any], tmp_path: Path, data: TrainingData, taught: Trained
) -> None:
    config = small_config(**settings)
    teacher = taught if settings else None
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    uninterrupted = train(STUDENT, config, whole, data=data, teacher=teacher)
    stopped = train(STUDENT, config, broken, data=data, teacher=teacher, watch=_stopping(1))
    assert (stopped.finished, stopped.steps) == (False, 3)  # in the middle of the second epoch
    torch.manual_seed(5)
    stopped = train(STUDENT, config, broken, data=data, teacher=teacher, resume=True, watch=_stopping(2))
    assert (stopped.finished, stopped.steps) == (False, 5)
    assert train(STUDENT, config, broken, data=data, teacher=teacher, resume=True) == uninterrupted
    assert _same_weights(whole, broken)
    assert _records(whole) == _records(broken)


def test_epochs_after_the_last_checkpoint_are_done_again(tmp_path: Path, data: TrainingData) -> None:
    """As after a crash between an epoch's line and its checkpoint."""
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    train(STUDENT, CONFIG, whole, data=data)
    train(STUDENT, CONFIG, broken, data=data, watch=_stopping(1))
    with (broken / "epochs.jsonl").open("a") as file:
        file.write((broken / "epochs.jsonl").read_text())
    train(STUDENT, CONFIG, broken, data=data, resume=True)
    assert _records(whole) == _records(broken)


def test_a_finished_training_can_be_resumed_without_harm(tmp_path: Path, data: TrainingData) -> None:
    result = train(STUDENT, CONFIG, tmp_path, data=data)
    before = _records(tmp_path)
    assert train(STUDENT, CONFIG, tmp_path, data=data, resume=True) == result
    assert _records(tmp_path) == before


def test_a_student_learns_from_its_teacher(tmp_path: Path, data: TrainingData, taught: Trained) -> None:
    """Its scores come nearer to the teacher's than those of a student that has none."""
    config = small_config({"losses.distillation": 20.0}, epochs=6)
    images = torch.stack([EvaluationTransform()(data.val.sample(i), np.random.default_rng(0)).images for i in range(3)])
    divergences = []
    for name, teacher in (("taught", taught), ("alone", None)):
        train(STUDENT, config, tmp_path / name, data=data, teacher=teacher)
        student = load_trained(tmp_path / name, "final")
        with torch.no_grad():
            divergences.append(distillation(student.network()(images), taught.network()(images)).item())
    assert divergences[0] < 0.5 * divergences[1]


def test_the_teacher_stays_as_it_is(tmp_path: Path, data: TrainingData, taught: Trained) -> None:
    before = {name: tensor.clone() for name, tensor in taught.weights.items()}
    train(STUDENT, small_config(epochs=1), tmp_path, data=data, teacher=taught)
    assert all(torch.equal(before[name], tensor) for name, tensor in taught.weights.items())


def test_averaged_weights_are_what_is_kept(tmp_path: Path, data: TrainingData) -> None:
    """A decay next to 1 keeps the weights of the first step, from which the others move on."""
    first: dict[str, torch.Tensor] = {}
    for name, averaging in (("slow", 1 - 1e-9), ("none", None)):
        config = small_config(averaging=averaging)
        train(STUDENT, config, tmp_path / name, data=data, start=lambda network: first.update(copy_of(network)))
    weight = "steps.classifier.classify.weight"
    slow, moved = (load_trained(tmp_path / name, "final").weights[weight] for name in ("slow", "none"))
    assert (slow - first[weight]).norm() < 0.5 * (moved - first[weight]).norm()


def test_recalibrated_statistics_are_kept_and_training_goes_on_without_them(tmp_path: Path, data: TrainingData) -> None:
    for name, batches in (("fresh", 2), ("moving", 0)):
        train(STUDENT, small_config({"validation.statistics_batches": batches}), tmp_path / name, data=data)
    fresh, moving = (load_trained(tmp_path / name, "final").weights for name in ("fresh", "moving"))
    differing = {name.rsplit(".", 1)[1] for name in fresh if not torch.equal(fresh[name], moving[name])}
    assert differing == {"running_mean", "running_var", "num_batches_tracked"}


def test_first_weights_may_be_given(tmp_path: Path, data: TrainingData, taught: Trained) -> None:
    def start(network: nn.Module) -> None:
        network.load_state_dict(taught.weights)

    config = small_config(epochs=1)
    warm = train(TEACHER, config, tmp_path / "warm", data=data, start=start)
    train(TEACHER, config, tmp_path / "cold", data=data)
    losses = [read_journal(tmp_path / name, EpochRecord)[0].segmentation for name in ("warm", "cold")]
    assert losses[0] < losses[1]
    with pytest.raises(CheckpointError, match="start"):
        train(TEACHER, config, tmp_path / "warm", data=data, resume=True)
    assert train(TEACHER, config, tmp_path / "warm", data=data, start=start, resume=True) == warm


def test_half_precision_trains_in_float32_weights(tmp_path: Path, data: TrainingData) -> None:
    for precision in ("bfloat16", "float32"):
        train(STUDENT, small_config(precision=precision), tmp_path / precision, data=data)
    half, single = (load_trained(tmp_path / precision).weights for precision in ("bfloat16", "float32"))
    name = "steps.stem0.conv1.weight"
    assert half[name].dtype == torch.float32
    assert not torch.equal(half[name], single[name])
    torch.testing.assert_close(half[name], single[name], rtol=0, atol=0.1)


def test_images_need_not_be_of_the_size_of_the_crops(tmp_path: Path) -> None:
    """Nor need either be the architecture's."""
    config = small_config({"data.image_size": (40, 70)}, epochs=1, crop=(64, 32), label_stride=1)
    result = train(STUDENT, config, tmp_path)
    assert result.final is not None
    assert result.final.pixels <= 3 * 40 * 70


@pytest.mark.parametrize("term", ["segmentation", "distillation"])
def test_what_is_not_a_number_is_named(term: str, tmp_path: Path, data: TrainingData, taught: Trained) -> None:
    teacher = None
    if term == "distillation":
        teacher = Trained(
            TEACHER,
            {name: tensor * torch.nan if tensor.is_floating_point() else tensor for name, tensor in taught.weights.items()},
        )

    def start(network: nn.Module) -> None:
        if term == "segmentation":
            network.state_dict()["steps.classifier.classify.bias"].fill_(torch.nan)

    with pytest.raises(DivergenceError, match=rf"epoch 1, step 1: the loss '{term}' is"):
        train(STUDENT, CONFIG, tmp_path, data=data, teacher=teacher, start=start)


def test_the_last_good_checkpoint_outlives_a_divergence(tmp_path: Path, data: TrainingData) -> None:
    config = small_config({"optimizer.lr": 10.0, "optimizer.weight_decay": 1.0, "optimizer.clip_norm": None}, epochs=60)
    with pytest.raises(DivergenceError, match="training epoch"):
        train(STUDENT, config, tmp_path, data=data)
    done = len(read_journal(tmp_path, EpochRecord))
    assert done > 0
    with pytest.raises(DivergenceError, match=rf"epoch {done + 1}, "):  # from where it was good, it goes wrong again
        train(STUDENT, config, tmp_path, data=data, resume=True)
    assert all(tensor.isfinite().all() for tensor in load_trained(tmp_path).weights.values())


def test_a_folder_holds_one_training(tmp_path: Path, data: TrainingData) -> None:
    config = small_config(epochs=1)
    with pytest.raises(TrainingError, match="holds no training to resume"):
        train(STUDENT, config, tmp_path / "run", data=data, resume=True)
    train(STUDENT, config, tmp_path / "run", data=data)
    with pytest.raises(TrainingError, match="holds a training already"):
        train(STUDENT, config, tmp_path / "run", data=data)


def test_what_ended_before_its_first_checkpoint_is_begun_anew(tmp_path: Path, data: TrainingData) -> None:
    """Its folder then tells of the training that was done, not of the attempt."""
    failing = small_config({"optimizer.lr": 1.0})
    with pytest.raises(DivergenceError):
        train(TEACHER, failing, tmp_path, data=data, start=_poison)
    config = small_config(epochs=1)
    train(STUDENT, config, tmp_path, data=data, resume=True)
    assert read_train_config(tmp_path) == config
    assert load_trained(tmp_path).architecture == STUDENT


def _poison(network: Network) -> None:
    with torch.no_grad():
        next(network.parameters()).fill_(torch.nan)


def test_another_training_is_not_resumed(tmp_path: Path, data: TrainingData, taught: Trained) -> None:
    train(STUDENT, CONFIG, tmp_path, data=data)
    other = small_config({"optimizer.lr": 0.01})
    with pytest.raises(CheckpointError, match=r"optimizer\.lr: 0\.01 here, 0\.05 there"):
        train(STUDENT, other, tmp_path, data=data, resume=True)
    with pytest.raises(CheckpointError, match=r"architecture\.genotype"):
        train(TEACHER, CONFIG, tmp_path, data=data, resume=True)
    with pytest.raises(CheckpointError, match=r"teacher: [0-9a-f]{16} here, None there"):
        train(STUDENT, CONFIG, tmp_path, data=data, teacher=taught, resume=True)


def test_what_does_not_fit_together_is_refused(tmp_path: Path, data: TrainingData) -> None:
    eleven = small_architecture(classes=11)
    with pytest.raises(TrainingError, match="architecture has 11, data set synthetic_streets 19"):
        train(eleven, CONFIG, tmp_path, data=data)
    teacher = Trained(eleven, {})
    with pytest.raises(TrainingError, match="teacher predicts 11, the student 19"):
        train(STUDENT, CONFIG, tmp_path, data=data, teacher=teacher)
    with pytest.raises(TrainingError, match="batch_size: 10, but there are 9 training images"):
        train(STUDENT, small_config(batch_size=10), tmp_path, data=data)
    with pytest.raises(InvalidSpecError, match=r"crop 36×64: .*height 36 is not divisible by 8"):
        train(STUDENT, small_config(crop=(36, 64)), tmp_path, data=data)
    assert not any(tmp_path.iterdir()), "nothing is written before all fits"


def test_weights_of_another_network_are_refused(tmp_path: Path, data: TrainingData) -> None:
    train(STUDENT, small_config(epochs=1), tmp_path, data=data)
    (tmp_path / "architecture.json").write_text(TEACHER.model_dump_json())
    with pytest.raises(CheckpointError, match=r"best\.pt: not the weights of"):
        load_trained(tmp_path)
    with pytest.raises(RunFolderError, match="there is no run"):
        load_trained(tmp_path / "elsewhere")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("epoch=3", "epoch: there is no such field"),
        ("optimizer.momentum=1", "optimizer.momentum: Input should be less than 1"),
        ("losses.direction=both", "losses.direction"),
        ("label_stride=3", "label_stride"),
        ("averaging=1", "averaging"),
        ("crop=[512]", "crop"),
        ("data.cache=true", "workers is 2"),
    ],
)
def test_configurations_out_of_range_are_refused(override: str, message: str) -> None:
    with pytest.raises(InvalidSpecError, match=message):
        read_config(TrainConfig, None, ["workers=2", override])


def test_the_defaults_are_the_papers() -> None:
    config = TrainConfig()
    assert (config.optimizer.lr, config.optimizer.momentum, config.optimizer.weight_decay) == (0.01, 0.9, 5e-4)
    assert (config.losses.distillation, config.losses.direction, config.losses.teacher_temperature) == (
        1.0,
        "student_teacher",
        1.0,
    )
    assert config.crop_size == (128, 256)
    assert read_config(TrainConfig, None, ["data.name=cityscapes", "data.root=/data"]).crop_size == (512, 1024)


def test_a_stopped_training_says_so_in_its_folder(tmp_path: Path, data: TrainingData) -> None:
    result = train(STUDENT, CONFIG, tmp_path, data=data, watch=_stopping(1))
    assert not read_result(tmp_path).finished
    assert json.loads((tmp_path / "result.json").read_text()) == json.loads(result.model_dump_json())
    assert isinstance(result, TrainResult)


@pytest.mark.parametrize("check", [True, False])
def test_images_of_different_sizes_are_found_before_anything_is_written(tmp_path: Path, check: bool) -> None:
    """They need a validation of one image at once."""
    labels = {f"train/{index}": (64, 64) for index in range(4)} | {"val/a": (64, 64), "val/b": (64, 96)}
    names = [f"class {index}" for index in range(19)]
    write_folder(tmp_path / "data", {name: np.zeros(size, np.uint8) for name, size in labels.items()}, classes=names)
    given = {"name": "folder", "root": tmp_path / "data"}
    config = small_config({"validation.batch_size": 2}, data=given, epochs=1, check_data=check)
    with pytest.raises(DatasetError, match=r"validation\.batch_size: 2, .* such as 64×64 and 64×96"):
        train(STUDENT, config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    fitting = small_config({"validation.batch_size": 1}, data=given, epochs=1)
    assert train(STUDENT, fitting, tmp_path / "run").finished
    whole = open_dataset(fitting.data, "val")
    evaluated = evaluate(load_trained(tmp_path / "run"), whole, "val", config, weights="best")
    assert evaluated.evaluation.metrics == read_result(tmp_path / "run").final


def test_images_are_checked_before_anything_is_written(tmp_path: Path) -> None:
    class Damaged(SyntheticStreets):
        def check(self, progress: CheckProgress | None = None) -> None:
            raise DatasetError("labels of 7 are damaged")

    settings = CONFIG.data
    damaged = TrainingData(Damaged.open(settings, "train"), Damaged.open(settings, "val"))
    with pytest.raises(DatasetError, match="labels of 7"):
        train(STUDENT, CONFIG, tmp_path / "run", data=damaged)
    assert not (tmp_path / "run").exists()
    assert train(STUDENT, small_config(check_data=False, epochs=1), tmp_path / "run", data=damaged).finished
