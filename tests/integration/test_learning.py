"""That a network learns something: minutes, not seconds."""

from __future__ import annotations

from pathlib import Path

import pytest

from nas_client.runs.journal import read_journal
from nas_client.train.config import TrainConfig
from nas_client.train.data import TrainingData
from nas_client.train.evaluation import evaluate
from nas_client.train.folder import EpochRecord, Trained, load_trained
from nas_client.train.networks import seeded_network
from nas_client.train.run import train
from nas_client.train.weights import copy_of
from tests.support.trainings import small_architecture

CONFIG = TrainConfig.parse(
    {
        "data": {"image_size": [64, 64], "train_images": 48, "val_images": 24, "cache": True},
        "batch_size": 8,
        "epochs": 10,
        "label_stride": 4,
        "optimizer": {"lr": 0.05},
        "averaging": 0.9,
        "validation": {"every": 10, "batch_size": 8, "statistics_batches": 4},
    }
)


@pytest.mark.slow
def test_the_loss_falls_and_predictions_beat_an_untrained_network(tmp_path: Path) -> None:
    data, student = TrainingData.open(CONFIG), small_architecture(8, 32)
    train(small_architecture(16, 32), CONFIG, tmp_path / "teacher", data=data)
    train(student, CONFIG, tmp_path / "student", data=data, teacher=load_trained(tmp_path / "teacher"))
    untrained = Trained(student, copy_of(seeded_network(student, (64, 64), auxiliary=False, seed=CONFIG.seed).network))
    before = evaluate(untrained, data.val, "val", CONFIG, weights="best").evaluation.metrics.mean_iou
    assert before is not None
    for name in ("teacher", "student"):
        losses = [record.segmentation for record in read_journal(tmp_path / name, EpochRecord)]
        assert losses[-1] < 0.8 * losses[0]
        trained = load_trained(tmp_path / name)
        after = evaluate(trained, data.val, "val", CONFIG, weights="best").evaluation.metrics.mean_iou
        assert after is not None
        assert after > 3 * before, (name, before, after)
