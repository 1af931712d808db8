from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from models.operators.costs import operator_costs
from models.spaces.registry import space_of
from models.spec.measurements import ProtocolName
from nas_client.data.base import DataSettings, SegmentationDataset
from nas_client.data.datasets import open_dataset
from nas_client.errors import TrainingError
from nas_client.service import ServiceClient
from nas_client.settings import ClientSettings
from nas_client.train.evaluation import Evaluated, Evaluation, MeasuredSpeed, evaluate, measure_speed
from nas_client.train.evaluation_files import prediction_grid, write_evaluation
from nas_client.train.folder import Trained
from nas_client.train.networks import seeded_network
from nas_client.train.weights import copy_of, weights_digest
from nas_client.transport import Transport
from tests.support.fake_service import SPACE, TARGET, FakeService, network_ms, transport
from tests.support.toy_space import ToySpace
from tests.support.trainings import small_architecture, small_config

ARCHITECTURE = small_architecture()
TOY = ToySpace.from_spec(SPACE).sample(np.random.default_rng(0))


@pytest.fixture(scope="module")
def dataset() -> SegmentationDataset:
    return open_dataset(DataSettings(image_size=(64, 96), test_images=4), "test")


@pytest.fixture(scope="module")
def evaluated(dataset: SegmentationDataset) -> Evaluated:
    return evaluate(_trained(), dataset, "test", small_config(), weights="best")


def _trained(classes: int = 19) -> Trained:
    architecture = small_architecture(classes=classes)
    return Trained(architecture, copy_of(seeded_network(architecture, (64, 64), auxiliary=False, seed=0).network))


def test_it_says_what_was_evaluated_and_how_good_it_is(evaluated: Evaluated, dataset: SegmentationDataset) -> None:
    evaluation = evaluated.evaluation
    assert (evaluation.dataset, evaluation.split, evaluation.images) == ("synthetic_streets", "test", 4)
    assert (evaluation.architecture, evaluation.weights) == (ARCHITECTURE.key(), "best")
    assert evaluation.weights_digest == weights_digest(_trained().weights)
    network = _trained().network((64, 96))
    right = total = 0
    for index in range(4):
        image, labels = dataset.sample(index)
        with torch.no_grad():
            scores = network(torch.from_numpy(_normalised(image))[None])[0]
        counted = labels != 255
        right += int((scores.argmax(0).numpy() == labels)[counted].sum())
        total += int(counted.sum())
    assert evaluation.metrics.pixel_accuracy == right / total
    assert evaluation.metrics.pixels == total == int(evaluated.confusion.sum())


def _normalised(image: np.ndarray) -> np.ndarray:
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    return ((image / 255 - mean) / deviation).transpose(2, 0, 1).astype(np.float32)


def test_costs_are_those_of_the_network_without_heads(evaluated: Evaluated) -> None:
    costs = evaluated.evaluation.costs
    assert costs.parameters == sum(p.numel() for p in _trained().network().parameters())
    operators = space_of(ARCHITECTURE).architecture_operators(ARCHITECTURE)
    assert costs.flops == sum(operator_costs(operator).flops for operator in operators)
    assert costs.convolution_macs < costs.macs


def test_without_a_service_there_is_no_speed(evaluated: Evaluated) -> None:
    assert evaluated.evaluation.speed is None
    assert evaluated.evaluation.speed_missing == "no service was asked"


def _measure(service: FakeService, tmp_path: Path) -> MeasuredSpeed | str:
    settings = ClientSettings.load(cache_dir=tmp_path)
    with ServiceClient(Transport("http://box:1", settings, http=transport(service)), settings) as client:
        return measure_speed(client, TOY, watch=lambda job: None, protocol=ProtocolName.ISOLATED)


def test_frames_per_second_are_those_a_service_measured(tmp_path: Path) -> None:
    speed = _measure(FakeService(), tmp_path)
    assert isinstance(speed, MeasuredSpeed)
    assert speed.fps == pytest.approx(1000 / network_ms(TOY))
    assert (speed.latency_ms, speed.target, speed.protocol) == (network_ms(TOY), TARGET.label(), ProtocolName.ISOLATED)


def test_a_network_that_could_not_be_measured_has_no_speed_but_a_reason(tmp_path: Path) -> None:
    service = FakeService()
    service.failing.add(TOY.key())
    assert _measure(service, tmp_path) == "out_of_memory: it does not fit"


def test_a_report_holds_numbers_confusion_and_pictures(evaluated: Evaluated, tmp_path: Path) -> None:
    write_evaluation(evaluated, tmp_path / "report", pictures=3)
    written = json.loads((tmp_path / "report" / "evaluation.json").read_text())
    assert Evaluation.parse(written) == evaluated.evaluation
    with (tmp_path / "report" / "confusion.csv").open() as file:
        heading, *rows = csv.reader(file)
    assert heading[1:] == [f"predicted {name}" for name in evaluated.evaluation.classes]
    assert [row[0] for row in rows] == list(evaluated.evaluation.classes)
    assert [[int(count) for count in row[1:]] for row in rows] == evaluated.confusion.tolist()
    with Image.open(tmp_path / "report" / "predictions.png") as picture:
        assert picture.width >= 3 * 256


def test_a_picture_shows_image_label_and_prediction_in_their_colours(dataset: SegmentationDataset) -> None:
    class Known:
        """Predicts one class everywhere."""

        def __call__(self, images: torch.Tensor) -> torch.Tensor:
            return torch.full((1, *images.shape[2:]), dataset.classes.id_of("bus"))

    grid = np.asarray(prediction_grid(Known(), dataset, images=1))  # type: ignore[arg-type]
    width = (grid.shape[1] - 8) // 3
    image, label, prediction = (grid[16 : 16 + 171, left : left + width] for left in (0, width + 4, 2 * (width + 4)))
    assert (prediction == dataset.classes.colours[dataset.classes.id_of("bus")]).all()
    sample = dataset.sample(0)
    rows, columns = (np.arange(171) * 64 // 171, np.arange(width) * 96 // width)
    assert (label == dataset.classes.paint(sample.labels)[rows][:, columns]).mean() > 0.95
    assert np.abs(image.astype(int) - sample.image[rows][:, columns]).mean() < 5


def test_another_number_of_classes_is_refused(dataset: SegmentationDataset) -> None:
    with pytest.raises(TrainingError, match="network predicts 11, data set synthetic_streets has 19"):
        evaluate(_trained(classes=11), dataset, "test", small_config(), weights="best")
