"""Architectures and weights on their way to other classes and sizes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models.spaces.registry import space_class, space_names, space_of
from models.spec.errors import InvalidSpecError
from nas_client.errors import TrainingError
from nas_client.train import transfer
from nas_client.train.folder import Trained, load_trained
from nas_client.train.networks import seeded_network
from nas_client.train.run import train
from nas_client.train.transfer import adapted, pretrained_weights
from nas_client.train.weights import copy_of
from tests.support.trainings import SIZE, small_architecture, small_config


@pytest.mark.parametrize("name", space_names())
def test_every_space_can_be_adapted_and_has_a_classifier(name: str) -> None:
    space = space_class(name).defaults()
    found = space.sample(np.random.default_rng(0))
    moved = adapted(found, classes=7, input_size=(128, 192))
    assert (moved.classes, moved.input_size) == (7, (128, 192))
    assert (moved.genotype, moved.parameters) == (found.genotype, found.parameters)
    assert space_of(moved).plan(moved).steps[-1].operator.output_shape == (1, 7, 128, 192)
    shapes, classifier = transfer._shapes(moved), transfer._classifier(moved)
    assert 0 < len(classifier) < len(shapes) / 4
    assert all(shapes[weight][0] == 7 for weight in classifier)


def test_what_no_network_can_be_adapted_to_is_refused() -> None:
    with pytest.raises(InvalidSpecError, match="classes"):
        adapted(small_architecture(), classes=0)
    with pytest.raises(InvalidSpecError, match="33 is not divisible"):
        adapted(small_architecture(), input_size=(64, 33))


@pytest.mark.parametrize("classes", [5, 19])
def test_all_weights_are_taken_but_the_classifiers(classes: int) -> None:
    source, moved = small_architecture(), adapted(small_architecture(), classes=classes, input_size=(64, 96))
    trained = Trained(source, copy_of(seeded_network(source, SIZE, auxiliary=False, seed=1).network))
    network = seeded_network(moved, (32, 64), auxiliary=True, seed=2).network
    before = copy_of(network)
    pretrained_weights(trained, moved)(network)
    classifier = transfer._classifier(moved)
    for name, tensor in network.state_dict().items():
        wanted = before[name] if name in classifier else trained.weights[name]
        assert torch.equal(tensor, wanted), name


def test_weights_of_another_network_are_refused() -> None:
    source = small_architecture(16, 32)
    trained = Trained(source, copy_of(seeded_network(source, SIZE, auxiliary=False, seed=1).network))
    with pytest.raises(TrainingError, match=r"it differs in genotype\.branches") as refused:
        pretrained_weights(trained, small_architecture(8, 32))
    assert "nas-client adapt" in refused.value.hint
    wider = replace(trained, architecture=adapted(source, classes=3))
    pretrained_weights(wider, source)


def test_a_network_that_cannot_predict_all_labels_is_refused(tmp_path: Path) -> None:
    """A transfer from eleven classes to the nineteen of the data set, and one to fewer."""
    with pytest.raises(
        TrainingError, match="has 11, data set synthetic_streets 19; it could not predict all of them"
    ) as refused:
        train(small_architecture(classes=11), small_config(), tmp_path / "run")
    assert "nas-client adapt --classes 19" in refused.value.hint
    with pytest.raises(TrainingError, match=r"has 20, data set synthetic_streets 19$"):
        train(small_architecture(classes=20), small_config(), tmp_path / "run")


def test_a_training_starts_from_another(tmp_path: Path) -> None:
    """To other classes and crops. With a rate of next to nothing it stays where it started."""
    train(small_architecture(), small_config(epochs=1), tmp_path / "first")
    first = load_trained(tmp_path / "first")
    moved = adapted(first.architecture, classes=2, input_size=(32, 64))
    changes = {"data.name": "synthetic_pets", "optimizer.lr": 1e-9, "optimizer.weight_decay": 0.0}
    config = small_config(changes, epochs=1, crop=(32, 32))
    train(moved, config, tmp_path / "second", start=pretrained_weights(first, moved))
    second = load_trained(tmp_path / "second")
    stem = next(name for name in first.weights if name.endswith("weight"))
    assert torch.allclose(first.weights[stem], second.weights[stem], atol=1e-6)
    assert second.architecture.classes == 2
